#include "lacuna/method/mae.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/layers.h"
#include "lacuna/target/patches.h"

namespace lacuna {
namespace {

MAEConfig small(bool norm_pix) {
  MAEConfig config;
  config.encoder = {.arch = "vit",
                    .img_size = {16, 32},
                    .patch_size = {4, 4},
                    .in_chans = 3,
                    .embed_dim = 16,
                    .depth = 2,
                    .num_heads = 2};
  config.decoder = {.embed_dim = 8, .depth = 1, .num_heads = 2};
  config.loss.norm_pix = norm_pix;
  return config;
}

Batch pictures(const MAE& model, int64_t samples) {
  Batch batch;
  const auto input = model.input();
  batch.image = SeededDraws(3).normal("picture", {samples, input.channels, input.size.h, input.size.w});
  return batch;
}

// The official formula, over all patches with a mask, equals ours, which predicts the hidden ones alone.
TEST(MAE, LossIsTheOfficialFormula) {
  for (const bool norm_pix : {true, false}) {
    SeededDraws draws(1);
    MAE model(small(norm_pix), draws);
    const auto batch = pictures(model, 4);
    const auto loss = model.forward(batch, draws).total.item<double>();
    const auto shuffle = model.draw_mask(batch.image, draws);
    const auto pred = model.predict_all(model.encode(batch.image, shuffle, nullptr), shuffle);
    const auto mask = shuffle.is_hidden().to(torch::kFloat);
    const auto wanted = ((pred - model.target(batch.image)).square().mean(-1) * mask).sum() / mask.sum();
    EXPECT_NEAR(loss, wanted.item<double>(), 1e-5 * loss);
  }
}

TEST(MAE, PreviewGivesBackThePatchStatistics) {
  SeededDraws draws(1);
  MAE model(small(true), draws);
  const auto batch = pictures(model, 2);
  const auto preview = model.preview(batch, draws);
  const auto shuffle = model.draw_mask(batch.image, draws);
  const auto pred = model.predict_all(model.encode(batch.image, shuffle, nullptr), shuffle);
  const auto truth = target::patch_statistics(target::patchify(batch.image, {4, 4}));
  const auto shown = target::patchify(preview.predicted, {4, 4});
  EXPECT_LT((shown - (pred * truth.deviation + truth.mean)).abs().max().item<double>(), 1e-5);
  EXPECT_EQ(preview.hidden.sizes(), (std::vector<int64_t>{2, 4, 8}));
  EXPECT_EQ(preview.hidden.sum().item<int64_t>(), 2 * 24);
  EXPECT_TRUE(preview.per_patch_units);
}

TEST(MAE, WeightDecaySparesOneDimensionOnly) {
  SeededDraws draws(1);
  const MAE model(small(true), draws);
  std::vector<std::string> spared;
  for (const auto& item : model.named_parameters())
    if (!model.decays(item.key(), item.value())) spared.push_back(item.key());
  EXPECT_THAT(spared, ::testing::Contains("norm.weight"));
  EXPECT_THAT(spared, ::testing::Contains("blocks.0.attn.qkv.bias"));
  EXPECT_THAT(spared, ::testing::Not(::testing::Contains("cls_token")));
  EXPECT_THAT(spared, ::testing::Not(::testing::Contains("mask_token")));
}

TEST(MAE, InitialWeightsDependOnNothingButSeedAndName) {
  SeededDraws first(5), second(5);
  auto other = small(false);
  other.decoder.depth = 3;
  const MAE a(small(true), first), b(other, second);
  EXPECT_TRUE(
      a.named_parameters()["blocks.1.mlp.fc1.weight"].equal(b.named_parameters()["blocks.1.mlp.fc1.weight"]));
  EXPECT_TRUE(a.named_parameters()["decoder_pred.weight"].equal(b.named_parameters()["decoder_pred.weight"]));
  EXPECT_GT(a.named_parameters()["decoder_blocks.0.attn.qkv.weight"].abs().max().item<double>(), 0.1);
}

TEST(LoadWeights, MismatchIsOneLineWithShapesAndRemedy) {
  SeededDraws draws(1);
  MAE model(small(true), draws);
  auto weights = model.weights();
  weights["norm.weight"] = torch::ones({7});
  weights["stranger"] = torch::ones({1});
  weights.erase("cls_token");
  try {
    load_weights(model, weights, "x.safetensors");
    FAIL() << "loaded";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::AllOf(::testing::HasSubstr("1 misshapen (norm.weight [7] for [16])"),
                                               ::testing::HasSubstr("1 missing (cls_token)"),
                                               ::testing::HasSubstr("1 unexpected (stranger)")));
  }
  EXPECT_EQ(load_weights(model, weights, "x.safetensors", /*partial=*/true).size(), 3U);
}

TEST(LoadWeights, EncoderOnlyFileSaysSo) {
  SeededDraws draws(1);
  MAE model(small(true), draws);
  auto weights = model.weights();
  std::erase_if(weights, [](const auto& item) {
    return item.first.find("decoder") == 0 || item.first == "mask_token";
  });
  try {
    load_weights(model, weights, "x.safetensors");
    FAIL() << "loaded";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("holds an encoder only"));
  }
}

}  // namespace
}  // namespace lacuna
