// The networks of conv_blocks.h with a mask: what holds by construction. Agreement with torchvision:
// tests/python/torchvision_test.py.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lacuna/core/torch.h"
#include "lacuna/nn/conv_blocks.h"

namespace lacuna::nn {
namespace {

std::shared_ptr<ConvNet> made(const std::string& arch, int64_t num_classes = 3) {
  const auto& registered = Registry<ConvNetArch>::instance().get(arch);
  auto network = registered.make(
      {.arch = arch, .num_classes = num_classes, .norm_eps = registered.sizes.value("norm_eps", 1e-5)});
  SeededDraws draws(1);
  network->initialize(draws);
  network->eval();
  return network;
}

std::map<std::string, Tensor> weights_of(const ConvNet& network) {
  std::map<std::string, Tensor> out;
  for (const auto& item : network.named_parameters()) out[item.key()] = item.value();
  for (const auto& item : network.named_buffers()) out[item.key()] = item.value();
  return out;
}

class MaskedNetwork : public ::testing::TestWithParam<std::string> {};

TEST_P(MaskedNetwork, IgnoresRemovedPixelsAndAFullMaskChangesNothing) {
  const torch::NoGradGuard no_grad;
  const auto network = made(GetParam());
  const auto logits = [&](const MaskedTensor& input) {
    return network->head(network->features(input, nullptr), nullptr);
  };
  torch::manual_seed(1);
  const auto image = torch::randn({2, 3, 64, 64});
  auto kept = torch::ones({2, 1, 64, 64});
  const auto plain = logits({.x = image});
  // Without training the signal of a deep network is small: differences count in its units.
  const auto difference = [&](const Tensor& other) {
    return ((other - plain).abs().max() / plain.abs().max()).item<double>();
  };
  EXPECT_LT(difference(logits({.x = image, .kept = kept})), 1e-4);
  kept.slice(2, 16, 40).zero_();
  const auto masked = logits({.x = image, .kept = kept});
  EXPECT_TRUE(logits({.x = image * kept + 7 * (1 - kept), .kept = kept}).equal(masked));
  EXPECT_GT(difference(masked), 1e-3);
}

TEST_P(MaskedNetwork, IsRecognisedByItsWeights) {
  const auto found = recognize_conv_net(weights_of(*made(GetParam(), 5)));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->at("encoder").at("arch"), GetParam());
  EXPECT_EQ(found->at("num_classes"), 5);
}

TEST_P(MaskedNetwork, EveryParameterHasALayerAndTheHeadTheLast) {
  const auto network = made(GetParam());
  int64_t heads = 0;
  for (const auto& item : network->named_parameters()) {
    const auto layer = network->layer_of(item.key());
    EXPECT_GE(layer, 0) << item.key();
    EXPECT_LT(layer, network->layers()) << item.key();
    if (!network->is_head(item.key())) continue;
    EXPECT_EQ(layer, network->layers() - 1) << item.key();
    EXPECT_EQ(item.value().size(0), 3) << item.key();
    ++heads;
  }
  EXPECT_EQ(heads, 2);
}

INSTANTIATE_TEST_SUITE_P(ConvNets, MaskedNetwork,
                         ::testing::Values("mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0",
                                           "densenet121", "squeezenet1_1", "alexnet"),
                         [](const auto& tested) { return tested.param; });

TEST(ConvNets, ParametersAreAsManyAsTorchvisions) {
  const std::map<std::string, int64_t> published = {
      {"mobilenet_v2", 3504872},     {"mobilenet_v3_large", 5483032}, {"mobilenet_v3_small", 2542856},
      {"efficientnet_b0", 5288548},  {"efficientnet_b1", 7794184},    {"efficientnet_b2", 9109994},
      {"efficientnet_b3", 12233232}, {"efficientnet_b4", 19341616},   {"efficientnet_b5", 30389784},
      {"densenet121", 7978856},      {"densenet169", 14149480},       {"densenet201", 20013928},
      {"densenet161", 28681000},     {"squeezenet1_0", 1248424},      {"squeezenet1_1", 1235496}};
  for (const auto& [arch, count] : published) {
    int64_t own = 0;
    for (const auto& parameter :
         Registry<ConvNetArch>::instance().get(arch).make({.arch = arch})->parameters())
      own += parameter.numel();
    EXPECT_EQ(own, count) << arch;
  }
}

TEST(ConvNets, AHoleIsFilledForAOneByOneConvolutionBesideAWiderMask) {
  Conv2d conv({.in = 1, .out = 1, .kernel = 1});
  const torch::NoGradGuard no_grad;
  conv.weight.fill_(2);
  auto kept = torch::ones({1, 1, 3, 3});
  kept[0][0][1][1] = 0;
  const auto out = open_conv(conv, {.x = torch::ones({1, 1, 3, 3}), .kept = kept});
  EXPECT_NEAR(out.x[0][0][1][1].item<double>(), 2, 1e-4);
  EXPECT_EQ(out.kept[0][0][1][1].item<double>(), 0);
}

TEST(ConvNets, PicturesThatAreTooSmallAreNamed) {
  const torch::NoGradGuard no_grad;
  try {
    made("alexnet")->features({.x = torch::zeros({1, 3, 32, 32})}, nullptr);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("pictures of 32 x 32 are too small"));
  }
}

}  // namespace
}  // namespace lacuna::nn
