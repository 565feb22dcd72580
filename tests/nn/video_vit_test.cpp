#include "lacuna/nn/video_vit.h"

#include <gtest/gtest.h>
#include <torch/optim/adamw.h>

#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/attentive.h"

namespace lacuna::nn {
namespace {

VideoViTConfig tiny(bool rope) {
  return {.arch = "vit",
          .img_size = {16, 24},
          .patch_size = {8, 8},
          .num_frames = 4,
          .embed_dim = 24,
          .depth = 2,
          .num_heads = 2,
          .use_rope = rope};
}

std::shared_ptr<VideoViT> make(const VideoViTConfig& config) {
  auto encoder = std::make_shared<VideoViT>(config);
  SeededDraws draws(1);
  encoder->initialize(draws, "encoder");
  return encoder;
}

Tensor film(const VideoViTConfig& config) {
  return SeededDraws(2).normal("film", {2, 3, config.num_frames, config.img_size.h, config.img_size.w});
}

TEST(Sincos3d, PartsForTimeRowAndColumn) {
  const Grid3 grid{2, 3, 4};
  const auto table = sincos_3d(16, grid, false)[0];  // 8 for time, 4 and 4
  const int64_t t = 1, h = 2, w = 3, token = (t * grid.h + h) * grid.w + w;
  const double omega[] = {1, std::pow(10000, -0.25), std::pow(10000, -0.5), std::pow(10000, -0.75)};
  for (int64_t j = 0; j < 4; ++j) {
    EXPECT_NEAR(table[token][j].item<double>(), std::sin(t * omega[j]), 1e-6);
    EXPECT_NEAR(table[token][4 + j].item<double>(), std::cos(t * omega[j]), 1e-6);
  }
  EXPECT_NEAR(table[token][8].item<double>(), std::sin(h), 1e-6);
  EXPECT_NEAR(table[token][12 + 2].item<double>(), std::cos(w), 1e-6);
  // Three equal parts of 2*ceil(20/6) = 8, cut to 20.
  const auto even = sincos_3d(20, grid, true)[0];
  EXPECT_NEAR(even[token][16].item<double>(), std::sin(w), 1e-6);
  EXPECT_NEAR(even[token][8].item<double>(), std::sin(h), 1e-6);
  EXPECT_THROW(check_sincos_3d("encoder", 20, false), Error);
}

TEST(Rotation3d, TiledAnglesOnNeighbours) {
  const Grid3 grid{2, 3, 4};
  const int64_t d = 14;  // parts of 2*((14/3)/2) = 4; two channels are left
  const auto ids = torch::tensor({23}, torch::kLong).unsqueeze(0);  // t 1, row 2, column 3
  const auto rotation = rotation_3d(ids, grid, d);
  const double omega = 0.01;
  const double angles[] = {1, omega, 1, omega, 2, 2 * omega, 2, 2 * omega, 3, 3 * omega, 3, 3 * omega, 0, 0};
  for (int64_t c = 0; c < d; ++c)
    EXPECT_NEAR(rotation.cos[0][0][c].item<double>(), std::cos(angles[c]), 1e-6) << c;
  const auto qkv = SeededDraws(0).normal("x", {1, 1, 3 * d});
  const auto turned = rotate_queries_and_keys(qkv, 1, rotation);
  EXPECT_TRUE(turned.slice(2, 2 * d).equal(qkv.slice(2, 2 * d)));  // values stay
  const auto x = qkv[0][0];
  for (const int64_t c : {0, 2, 4, 10, 12}) {  // even channels: x cos - next sin
    EXPECT_NEAR(turned[0][0][c].item<double>(),
                x[c].item<double>() * std::cos(angles[c]) - x[c + 1].item<double>() * std::sin(angles[c]),
                1e-5);
    EXPECT_NEAR(
        turned[0][0][c + 1].item<double>(),
        x[c + 1].item<double>() * std::cos(angles[c + 1]) + x[c].item<double>() * std::sin(angles[c + 1]),
        1e-5);
  }
}

TEST(VideoViT, SeesTheTokensAskedForAndNoOther) {
  for (const bool rope : {false, true}) {
    const auto config = tiny(rope);
    const auto encoder = make(config);
    const auto video = film(config);
    const auto ids = torch::tensor({1, 4, 7, 0, 5, 11}, torch::kLong).view({2, 3});
    const auto tokens = encoder->forward(video, ids);
    EXPECT_EQ(tokens.sizes(), (std::vector<int64_t>{2, 3, 24}));
    auto changed = video.clone();
    changed[0].slice(1, 0, 2).slice(2, 0, 8).slice(3, 0, 8).add_(1);  // token 0 of film 0: not seen
    EXPECT_TRUE(encoder->forward(changed, ids).equal(tokens));
    changed[0].slice(1, 0, 2).slice(2, 0, 8).slice(3, 8, 16).add_(1);  // token 1
    EXPECT_FALSE(encoder->forward(changed, ids)[0].equal(tokens[0]));
    // The order asked for is the order given.
    const auto flipped = encoder->forward(video, ids.flip(1));
    EXPECT_TRUE(flipped.flip(1).allclose(tokens, 1e-4, 1e-5)) << rope;
    EXPECT_TRUE(encoder->forward(video).allclose(encoder->forward(video, all_tokens(2, 12, torch::kCPU))));
  }
}

TEST(VideoViT, PositionsMatter) {
  for (const bool rope : {false, true}) {
    const auto config = tiny(rope);
    const auto encoder = make(config);
    const auto still = torch::ones({1, 3, 4, 16, 24});  // every cube looks alike
    const auto tokens = encoder->forward(still);
    EXPECT_EQ(rope, tokens[0][0].allclose(tokens[0][11], 1e-4, 1e-5));  // rotary: equal keys, equal values
  }
}

TEST(Attentive, LayoutsDifferAndLearn) {
  const auto tokens = SeededDraws(4).normal("tokens", {6, 5, 16});
  const auto label = torch::tensor({0, 1, 2, 0, 1, 2}, torch::kLong);
  for (const std::string layout : {"vjepa2", "vjepa"}) {
    const auto probe = std::make_shared<AttentiveClassifier>(
        AttentiveConfig{.layout = layout, .embed_dim = 16, .num_heads = 4, .depth = 2, .num_classes = 3});
    SeededDraws draws(0);
    probe->initialize(draws);
    EXPECT_EQ(layout == "vjepa",
              probe->named_parameters().contains("pooler.cross_attention_block.xattn.proj.weight"));
    // A set of tokens has no order.
    EXPECT_TRUE(probe->forward(tokens).allclose(probe->forward(tokens.flip(1)), 1e-4, 1e-5));
    std::vector<Tensor> trained;
    for (const auto& parameter : probe->parameters())
      if (parameter.requires_grad()) trained.push_back(parameter);
    torch::optim::AdamW optimizer(trained, torch::optim::AdamWOptions(1e-2));
    double loss = 0;
    for (int i = 0; i < 60; ++i) {
      optimizer.zero_grad();
      const auto cost = torch::cross_entropy_loss(probe->forward(tokens), label);
      cost.backward();
      optimizer.step();
      loss = cost.item<double>();
    }
    EXPECT_LT(loss, 0.1) << layout;
  }
}

}  // namespace
}  // namespace lacuna::nn
