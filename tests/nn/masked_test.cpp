// Layers that carry a mask: what holds by construction.

#include "lacuna/nn/masked.h"

#include <gtest/gtest.h>

#include "lacuna/core/torch.h"
#include "lacuna/nn/resnet.h"

namespace lacuna::nn {
namespace {

TEST(Masked, OneRoundOfFillIsTheMeanOfTheValidNeighbours) {
  const auto x = torch::arange(9, torch::kFloat).view({1, 1, 3, 3});
  auto kept = torch::ones({1, 1, 3, 3});
  kept[0][0][1][1] = 0;
  const auto filled = fill_from_neighbors(x, kept, 1);
  EXPECT_NEAR(filled[0][0][1][1].item<double>(), 4, 1e-4);  // (36 - 4) / 8
  EXPECT_EQ(filled[0][0][0][1].item<double>(), 1);
}

TEST(Masked, ResNetIgnoresRemovedPixelsAndAFullMaskChangesNothing) {
  ResNetConfig config;
  config.small_stem = true, config.stem_width = 4, config.num_classes = 3;
  config.planes = {4, 8}, config.depths = {1, 1}, config.strides = {1, 2};
  const auto held = std::make_shared<ResNet>(config);
  auto& network = *held;
  SeededDraws draws(1);
  network.initialize(draws);
  network.eval();
  const torch::NoGradGuard no_grad;
  const auto image = torch::randn({2, 3, 16, 16});
  auto kept = torch::ones({2, 1, 16, 16});
  const auto plain = network.features({.x = image}, nullptr);
  EXPECT_TRUE(torch::allclose(network.features({.x = image, .kept = kept}, nullptr), plain, 1e-4, 1e-5));
  kept.slice(2, 4, 12).zero_();
  const auto masked = network.features({.x = image, .kept = kept}, nullptr);
  const auto painted = image * kept + 7 * (1 - kept);
  EXPECT_TRUE(network.features({.x = painted, .kept = kept}, nullptr).equal(masked));
}

}  // namespace
}  // namespace lacuna::nn
