#include "lacuna/target/patches.h"

#include <gtest/gtest.h>

#include "lacuna/core/draws.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/layers.h"

namespace lacuna::target {
namespace {

TEST(Patches, ChannelIsFastest) {
  const auto image = torch::arange(2 * 2 * 4, torch::kFloat).view({1, 2, 2, 4});  // C, H, W
  const auto patches = patchify(image, {2, 2});
  EXPECT_TRUE(patches[0][0].equal(torch::tensor({0.F, 8.F, 1.F, 9.F, 4.F, 12.F, 5.F, 13.F})));
  EXPECT_TRUE(patches[0][1].equal(torch::tensor({2.F, 10.F, 3.F, 11.F, 6.F, 14.F, 7.F, 15.F})));
}

TEST(Patches, UnpatchifyInverts) {
  SeededDraws draws(1);
  for (const int64_t channels : {1, 3, 5}) {
    const auto image = draws.normal("image", {2, channels, 8, 24});
    EXPECT_TRUE(unpatchify(patchify(image, {4, 6}), {4, 6}, {2, 4}, channels).equal(image));
  }
}

TEST(Patches, SomeAreThoseOfAll) {
  SeededDraws draws(2);
  const auto image = draws.normal("image", {2, 3, 8, 16});
  const auto ids = torch::tensor({{7, 0, 3}, {2, 2, 5}}, torch::kLong);
  EXPECT_TRUE(patchify(image, {4, 4}, ids).equal(nn::gather_tokens(patchify(image, {4, 4}), ids)));
}

TEST(Patches, NormalisedByUnbiasedVariance) {
  const auto patches = torch::tensor({{{1.F, 2.F, 3.F, 6.F}}});  // mean 3, unbiased variance 14/3
  const auto statistics = patch_statistics(patches);
  EXPECT_NEAR(statistics.mean.item<double>(), 3, 1e-6);
  EXPECT_NEAR(statistics.deviation.item<double>(), std::sqrt(14.0 / 3 + 1e-6), 1e-6);
  EXPECT_NEAR(normalize_patches(patches)[0][0][3].item<double>(), 3 / std::sqrt(14.0 / 3 + 1e-6), 1e-6);
}

TEST(Patches, MaskIsBlownUp) {
  const auto hidden = torch::tensor({{true, false}, {false, true}}).view({1, 2, 2});
  const auto pixels = patch_mask_to_pixels(hidden, {1, 2}, {2, 2});
  EXPECT_TRUE(pixels[0][0].equal(torch::tensor({{true, true, false, false}, {false, false, true, true}})));
}

}  // namespace
}  // namespace lacuna::target
