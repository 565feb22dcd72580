#include "lacuna/method/simmim.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "lacuna/core/error.h"
#include "tests/support/tiny.h"

namespace lacuna {
namespace {

using ::testing::HasSubstr;

/// A Swin of two stages whose tokens cover 8 pixels, hidden by cells of `cell` pixels.
std::shared_ptr<SimMIM> small_simmim(int64_t cell, const std::string& type = "l1",
                                     const std::string& region = "hidden") {
  SimMIMConfig config;
  config.encoder.arch = "swin";
  config.encoder.img_size = {32, 32}, config.encoder.patch_size = {4, 4}, config.encoder.embed_dim = 8;
  config.encoder.depths = {2, 2}, config.encoder.num_heads = {1, 2}, config.encoder.window_size = 4;
  config.mask.mask_patch_size = cell;
  config.loss = {type, region};
  SeededDraws draws(5);
  return std::make_shared<SimMIM>(config, draws);
}

/// The loss by its definition, over whole pictures.
double plain_loss(const SimMIM& model, const Tensor& image, const Tensor& hidden, bool squared,
                  bool everywhere) {
  const torch::NoGradGuard no_grad;
  const auto rec = model.predict_all(model.encode(image, hidden, nullptr));
  auto mask = hidden.repeat_interleave(4, 1).repeat_interleave(4, 2).unsqueeze(1).to(torch::kFloat);
  if (everywhere) mask = torch::ones_like(mask);
  auto error = (image - rec).abs();
  if (squared) error = error.square();
  return ((error * mask).sum() / (mask.sum() + 1e-5) / 3).item<double>();
}

TEST(SimMIM, LossOverGatheredCellsIsTheDefinition) {
  const auto image = SeededDraws(2).normal("image", {3, 3, 32, 32});
  for (const int64_t cell : {4, 8, 16})  // smaller than, equal to and larger than what a token predicts
    for (const std::string type : {"l1", "mse"})
      for (const std::string region : {"hidden", "all"}) {
        const auto model = small_simmim(cell, type, region);
        Batch batch;
        batch.image = image;
        SeededDraws draws(9), again(9);
        const double loss = model->forward(batch, draws).total.item<double>();
        const auto hidden = model->draw_mask(3, again);
        EXPECT_NEAR(loss, plain_loss(*model, image, hidden, type == "mse", region == "all"), 1e-5 * loss)
            << cell << type << region;
      }
}

TEST(SimMIM, HidesTheShareOfCellsRoundedUp) {
  const auto model = small_simmim(8);  // 16 cells, 60 %: ten
  SeededDraws draws(1);
  const auto hidden = model->draw_mask(5, draws);
  EXPECT_EQ(hidden.sizes(), (std::vector<int64_t>{5, 8, 8}));
  EXPECT_TRUE(hidden.flatten(1).sum(1).eq(40).all().item<bool>());
  const auto cells = hidden.view({5, 4, 2, 4, 2});
  EXPECT_TRUE(cells.any(4).any(2).eq(cells.all(4).all(2)).all().item<bool>());  // whole cells only
}

TEST(SimMIM, DecayFollowsTheOfficialNames) {
  const auto model = small_simmim(8);
  const auto decays = [&](const std::string& name) {
    return model->decays(name, model->named_parameters()[name]);
  };
  EXPECT_FALSE(decays("encoder.mask_token"));
  EXPECT_FALSE(decays("encoder.norm.weight"));
  EXPECT_FALSE(decays("decoder.0.bias"));
  EXPECT_TRUE(decays("decoder.0.weight"));
  EXPECT_TRUE(decays("encoder.layers.0.blocks.0.attn.relative_position_bias_table"));
}

std::string refusal(const std::vector<std::string>& settings) {
  train::RunConfig config("simmim");
  for (const auto& setting : settings) config.table.set_assignment(setting, "test");
  try {
    config.resolve();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(SimMIM, PaperSettingsResolve) {
  train::RunConfig config("simmim");
  config.resolve();
  EXPECT_EQ(config.table.get("encoder.embed_dim"), 128);
  EXPECT_EQ(config.table.get("encoder.patch_size"), Json({4, 4}));
  EXPECT_EQ(config.table.get("encoder.depths"), Json({2, 2, 18, 2}));
}

TEST(SimMIM, RefusesWhatCanNotBeHidden) {
  EXPECT_THAT(refusal({"encoder.arch=vit_tiny"}), HasSubstr("use a swin or beit encoder"));
  EXPECT_THAT(refusal({"mask.mask_patch_size=6"}), HasSubstr("no multiple of the patch's 4x4"));
  EXPECT_THAT(refusal({"mask.mask_patch_size=80"}), HasSubstr("does not divide the picture's 192x192"));
  EXPECT_THAT(refusal({"mask.ratio=1.0"}), HasSubstr("hides all"));
}

}  // namespace
}  // namespace lacuna
