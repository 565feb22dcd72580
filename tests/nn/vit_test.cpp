#include "lacuna/nn/vit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/init.h"

namespace lacuna::nn {
namespace {

ViTConfig small(Size2 image = {16, 32}, Size2 patch = {4, 8}) {
  ViTConfig config;
  config.arch = "vit";
  config.img_size = image;
  config.patch_size = patch;
  config.in_chans = 2;
  config.embed_dim = 16;
  config.depth = 2;
  config.num_heads = 4;
  return config;
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(SinCos, RowsAndColumnsAreCoded) {
  const auto table = sincos_2d(8, {2, 8}, 1)[0];  // class row, then 2 x 8 patches
  EXPECT_EQ(table.sizes(), (std::vector<int64_t>{17, 8}));
  EXPECT_EQ(table[0].abs().max().item<float>(), 0);
  const auto patch = table[1 + 1 * 8 + 3];  // row 1, column 3; frequencies 1 and 1/100
  const std::vector<double> wanted = {std::sin(3.0), std::sin(0.03), std::cos(3.0), std::cos(0.03),
                                      std::sin(1.0), std::sin(0.01), std::cos(1.0), std::cos(0.01)};
  for (int i = 0; i < 8; ++i) EXPECT_NEAR(patch[i].item<double>(), wanted[i], 1e-6) << i;
}

// Tokens 0 and 5 of a 2 x 8 grid lie in one row: the row halves of their positions are equal. On a 4 x 4 grid
// they are not.
TEST(SinCos, TwoByEightIsNotFourByFour) {
  const auto wide = sincos_2d(16, {2, 8}, 0)[0], square = sincos_2d(16, {4, 4}, 0)[0];
  EXPECT_TRUE(wide[0].slice(0, 8).equal(wide[5].slice(0, 8)));
  EXPECT_FALSE(square[0].slice(0, 8).equal(square[5].slice(0, 8)));
}

TEST(PosEmbed, ResizeKeepsPrefixAndConstants) {
  auto table = torch::full({1, 1 + 16, 4}, 2.0);
  table[0][0].fill_(-1);
  const auto resized = resize_pos_embed(table, {4, 4}, {6, 3}, 1);
  EXPECT_EQ(resized.sizes(), (std::vector<int64_t>{1, 19, 4}));
  EXPECT_EQ(resized[0][0].max().item<float>(), -1);
  EXPECT_NEAR((resized.slice(1, 1) - 2).abs().max().item<double>(), 0, 1e-5);  // float weights
}

TEST(PatchEmbed, EqualsConvolution) {
  SeededDraws draws(1);
  PatchEmbed embed(2, 16, {4, 8});
  xavier_uniform_(embed.proj()->weight, draws, "w");
  normal_(embed.proj()->bias, 1, draws, "b");
  const auto image = draws.normal("image", {3, 2, 16, 32});
  const auto convolved =
      torch::conv2d(image, embed.proj()->weight, embed.proj()->bias, {4, 8}).flatten(2).transpose(1, 2);
  EXPECT_LT((embed.forward(image) - convolved).abs().max().item<double>(), 1e-5);
  const auto ids = torch::tensor({{5, 0, 15}, {1, 1, 2}, {14, 3, 9}}, torch::kLong);
  EXPECT_LT((embed.forward(image, ids) - gather_tokens(convolved, ids)).abs().max().item<double>(), 1e-5);
}

TEST(Attention, EqualsItsFormula) {
  SeededDraws draws(2);
  Attention attention(8, 2, true);
  for (auto& item : attention.named_parameters()) normal_(item.value(), 0.5, draws, item.key());
  const auto x = draws.normal("x", {2, 5, 8});
  const auto parameters = attention.named_parameters();
  const auto qkv = torch::linear(x, parameters["qkv.weight"], parameters["qkv.bias"]);
  std::vector<Tensor> heads;
  for (int64_t h = 0; h < 2; ++h) {
    const auto part = [&](int64_t which) { return qkv.slice(2, which * 8 + h * 4, which * 8 + h * 4 + 4); };
    const auto weights = torch::softmax(part(0).matmul(part(1).transpose(1, 2)) / 2.0, -1);
    heads.push_back(weights.matmul(part(2)));
  }
  const auto wanted = torch::linear(torch::cat(heads, 2), parameters["proj.weight"], parameters["proj.bias"]);
  EXPECT_LT((attention.forward(x) - wanted).abs().max().item<double>(), 1e-5);
}

TEST(DropPath, DropsSamplesAndScalesTheRest) {
  SeededDraws draws(5);
  const auto out = drop_path(torch::ones({1000, 3}), 0.25, "drop", &draws);
  const auto kept = out.select(1, 0).gt(0);
  EXPECT_NEAR(kept.to(torch::kFloat).mean().item<double>(), 0.75, 0.05);
  EXPECT_NEAR(out.max().item<double>(), 1 / 0.75, 1e-6);
  EXPECT_TRUE(out.select(1, 0).equal(out.select(1, 2)));
  EXPECT_TRUE(drop_path(torch::ones({4, 2}), 0.25, "drop", nullptr).equal(torch::ones({4, 2})));
}

TEST(Init, BoundsAndSpread) {
  SeededDraws draws(11);
  auto weight = torch::empty({64, 32, 2, 2});
  xavier_uniform_(weight, draws, "w");
  const double bound = std::sqrt(6.0 / (64 + 128));
  EXPECT_LE(weight.abs().max().item<double>(), bound);
  EXPECT_NEAR(weight.std().item<double>(), bound / std::sqrt(3.0), 0.01 * bound);
  trunc_normal_(weight, 0.02, draws, "t", 0.04);
  EXPECT_LE(weight.abs().max().item<double>(), 0.04 + 1e-9);
  EXPECT_NEAR(weight.std().item<double>(), 0.02 * 0.8796, 0.0003);  // deviation of N(0,1) cut at +-2
}

TEST(ViT, NamesAreTimms) {
  auto config = small();
  config.init_values = 0.1;
  const ViT vit(config);
  std::vector<std::string> names;
  for (const auto& item : vit.named_parameters()) names.push_back(item.key());
  EXPECT_THAT(names,
              ::testing::IsSupersetOf(
                  {"cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias",
                   "blocks.0.norm1.weight", "blocks.0.attn.qkv.bias", "blocks.1.attn.proj.weight",
                   "blocks.1.ls1.gamma", "blocks.1.mlp.fc1.weight", "blocks.1.mlp.fc2.bias", "norm.weight"}));
}

TEST(ViT, ShapesAndPooling) {
  SeededDraws draws(3);
  for (const bool class_token : {true, false}) {
    auto config = small();
    config.class_token = class_token;
    config.pos_embed = class_token ? "learned" : "none";
    const auto vit = std::make_shared<ViT>(config);
    vit->initialize(draws);
    const auto tokens = vit->forward_features(draws.normal("image", {2, 2, 16, 32}));
    EXPECT_EQ(tokens.sizes(), (std::vector<int64_t>{2, 16 + (class_token ? 1 : 0), 16}));
    const auto mean = tokens.slice(1, class_token ? 1 : 0).mean(1);
    EXPECT_LT((vit->pool(tokens, "avg") - mean).abs().max().item<double>(), 1e-6);
    if (!class_token) {
      EXPECT_THROW(vit->pool(tokens, "token"), Error);
    }
  }
}

TEST(ViT, ImpossibleSizesNameTheNearestLegal) {
  EXPECT_THAT(message_of([] {
                check_vit(small({998, 32}, {16, 16}));
              }),
              ::testing::HasSubstr("nearest legal sizes are 992 or 1008"));
  auto config = small();
  config.num_heads = 3;
  EXPECT_THAT(message_of([&] { check_vit(config); }), ::testing::HasSubstr("not a multiple of num_heads 3"));
  config = small();
  config.embed_dim = 18;
  config.num_heads = 2;
  EXPECT_THAT(message_of([&] { check_vit(config); }), ::testing::HasSubstr("use 20"));
}

TEST(ViT, ArchFillsWhatIsNotGiven) {
  ViTConfig config;
  ConfigTable table;
  table.add("encoder", config);
  table.set("encoder.arch", "vit_tiny", "test");
  table.set("encoder.depth", 3, "test");
  config.resolve(table, "encoder");
  EXPECT_EQ(config.embed_dim, 192);
  EXPECT_EQ(config.num_heads, 3);
  EXPECT_EQ(config.depth, 3);
}

}  // namespace
}  // namespace lacuna::nn
