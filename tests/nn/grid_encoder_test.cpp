// Swin, BEiT's ViT and their relative positions: figures worked out by hand or with SciPy (not-a-knot
// splines).

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/beit.h"
#include "lacuna/nn/classifier.h"
#include "lacuna/nn/init.h"
#include "lacuna/nn/relative_position.h"
#include "lacuna/nn/swin.h"

namespace lacuna::nn {
namespace {

using ::testing::HasSubstr;

SwinConfig small_swin() {
  SwinConfig config;
  config.img_size = {32, 64};
  config.embed_dim = 8, config.depths = {2, 2}, config.num_heads = {1, 2}, config.window_size = 4;
  config.mlp_ratio = 2, config.mask_token = true;
  return config;
}

TEST(RelativePosition, IndexOfATwoByTwoWindow) {
  const auto index = relative_position_index({2, 2}, false);
  EXPECT_TRUE(
      index.equal(torch::tensor({{4, 3, 1, 0}, {5, 4, 2, 1}, {7, 6, 4, 3}, {8, 7, 5, 4}}, torch::kLong)));
}

TEST(RelativePosition, ClassTokenHasThreeRowsAndTheCornerItsOwn) {
  const auto index = relative_position_index({2, 1}, true);  // table: 3 offsets + 3
  EXPECT_TRUE(index.equal(torch::tensor({{5, 3, 3}, {4, 1, 0}, {4, 2, 1}}, torch::kLong)));
}

TEST(RelativePosition, ResizingKeepsClassRowsAndTheCentre) {
  const auto table = torch::randn({relative_table_rows({4, 4}, true), 2});
  const auto resized = resize_relative_table(table, {4, 4}, {6, 6}, true);
  ASSERT_EQ(resized.size(0), 11 * 11 + 3);
  EXPECT_TRUE(resized.slice(0, 121).equal(table.slice(0, 49)));
  EXPECT_TRUE(torch::allclose(resized[60], table[24]));  // offset (0, 0)
  EXPECT_TRUE(resize_relative_table(table, {4, 4}, {4, 4}, true).equal(table));
}

TEST(RelativePosition, ASplineOfACubicIsThatCubic) {
  // Source offsets stand at x with x(1) = 1 and the outermost at the new edge; a cubic is reproduced whatever
  // they are.
  const int64_t from = 4, to = 6;
  const auto constant = torch::full({relative_table_rows({from, from}, false), 1}, 2.5);
  EXPECT_TRUE(torch::allclose(resize_relative_table(constant, {from, from}, {to, to}, false),
                              torch::full({121, 1}, 2.5)));
}

TEST(RelativePosition, OneAxisAloneCanBeResized) {
  const auto table = torch::randn({relative_table_rows({3, 2}, false), 1}).view({5, 3});
  const auto resized = resize_relative_table(table.reshape({15, 1}), {3, 2}, {3, 4}, false).view({5, 7});
  EXPECT_TRUE(torch::allclose(resized.select(1, 3), table.select(1, 1)));  // column offset 0 in every row
}

TEST(Swin, ShiftMaskSeparatesRegionsByMinusHundred) {
  const auto mask = shifted_window_mask({4, 4}, 2, 1);  // [4 windows, 4, 4]
  EXPECT_EQ(mask[0].abs().max().item<float>(), 0);      // top left: one region
  const auto corner = mask[3];                          // bottom right: four regions, each token its own
  EXPECT_TRUE(corner.equal((1 - torch::eye(4)) * -100));
  EXPECT_TRUE(
      mask[1].equal(torch::tensor({{0, 1, 0, 1}, {1, 0, 1, 0}, {0, 1, 0, 1}, {1, 0, 1, 0}}) * -100.0F));
}

TEST(Swin, ShapesOfAWidePicture) {
  const Swin swin(small_swin());
  const auto image = torch::randn({2, 3, 32, 64});
  EXPECT_EQ(swin.forward(image, {}, nullptr).sizes(), (std::vector<int64_t>{2, 32, 16}));
  EXPECT_EQ(swin.out_grid(), (Size2{4, 8}));
  EXPECT_EQ(swin.stride(), (Size2{8, 8}));
}

TEST(Swin, OnlyHiddenPatchesLoseTheirPixels) {
  Swin swin(small_swin());
  SeededDraws draws(1);
  swin.initialize(draws);
  auto image = torch::randn({1, 3, 32, 64});
  auto hidden = torch::zeros({1, 8, 16}, torch::kBool);
  hidden.index_put_({0, 0, 0}, true);
  const auto before = swin.forward(image, hidden, nullptr);
  image.slice(2, 0, 4).slice(3, 0, 4).add_(5);  // inside the hidden patch
  EXPECT_TRUE(swin.forward(image, hidden, nullptr).equal(before));
  image.slice(2, 4, 8).slice(3, 0, 4).add_(5);  // beside it
  EXPECT_FALSE(swin.forward(image, hidden, nullptr).equal(before));
}

TEST(Swin, RefusesAPictureThatWindowsDoNotTileAndNamesNeighbours) {
  auto config = small_swin();
  config.img_size = {40, 40};
  try {
    Swin swin(config);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("32 and 64"));
  }
}

TEST(Init, TruncatedNormalIsCutAtTheBound) {
  SeededDraws draws(3);
  const auto x = torch::empty({20000});
  trunc_normal_(x, 0.02, draws, "narrow", 0.02);
  EXPECT_LE(x.abs().max().item<float>(), 0.02F);
  EXPECT_NEAR(x.std().item<double>(), 0.02 * 0.5396, 2e-4);  // of a normal cut at one deviation
  trunc_normal_(x, 0.02, draws, "wide");
  EXPECT_NEAR(x.std().item<double>(), 0.02, 3e-4);
  EXPECT_GT(x.abs().max().item<float>(), 0.06F);
}

TEST(Classifier, LayersOfSwinCountBlocksOverStages) {
  ClassifierConfig config;
  config.num_classes = 5;
  config.encoder.arch = "swin";
  config.encoder.img_size = {32, 32}, config.encoder.patch_size = {4, 4}, config.encoder.embed_dim = 8;
  config.encoder.depths = {2, 3}, config.encoder.num_heads = {1, 2}, config.encoder.window_size = 4;
  const auto classifier = make_classifier(config);
  EXPECT_EQ(classifier->layers(), 7);
  EXPECT_EQ(classifier->layer_of("patch_embed.norm.weight"), 0);
  EXPECT_EQ(classifier->layer_of("layers.0.blocks.1.mlp.fc1.weight"), 2);
  EXPECT_EQ(classifier->layer_of("layers.0.downsample.norm.bias"), 2);
  EXPECT_EQ(classifier->layer_of("layers.1.blocks.2.norm1.weight"), 5);
  EXPECT_EQ(classifier->layer_of("head.bias"), 6);
}

TEST(Classifier, AdaptGivesEachBeitBlockTheSharedTableInItsSize) {
  BeitConfig pretrained;
  pretrained.img_size = {32, 32}, pretrained.patch_size = {8, 8};
  pretrained.embed_dim = 16, pretrained.depth = 2, pretrained.num_heads = 2, pretrained.mask_token = true;
  const Beit source(pretrained);
  std::map<std::string, torch::Tensor> weights;
  for (const auto& item : source.named_parameters())
    weights["encoder." + item.key()] = torch::randn_like(item.value());
  weights["decoder.0.weight"] = torch::zeros({1});

  ClassifierConfig config;
  config.num_classes = 3;
  config.encoder.arch = "beit-vit";
  config.encoder.img_size = {48, 48}, config.encoder.patch_size = {8, 8};
  config.encoder.embed_dim = 16, config.encoder.depth = 2, config.encoder.num_heads = {2};
  config.encoder.init_values = 0.1;
  EncoderConfig from = config.encoder;
  from.img_size = {32, 32};
  const auto adapted = make_classifier(config)->adapt(weights, from);
  const auto& shared = weights.at("encoder.rel_pos_bias.relative_position_bias_table");
  const auto wanted = resize_relative_table(shared, {4, 4}, {6, 6}, true);
  EXPECT_TRUE(adapted.at("blocks.0.attn.relative_position_bias_table").equal(wanted));
  EXPECT_TRUE(adapted.at("blocks.1.attn.relative_position_bias_table").equal(wanted));
  for (const char* gone :
       {"rel_pos_bias.relative_position_bias_table", "mask_token", "decoder.0.weight", "norm.weight"})
    EXPECT_EQ(adapted.count(gone), 0U) << gone;
}

}  // namespace
}  // namespace lacuna::nn
