#include "lacuna/method/simmim.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/pixel_decoder.h"
#include "tests/support/tiny.h"

namespace lacuna {
namespace {

using ::testing::HasSubstr;

/// A Swin of two stages whose tokens cover 8 pixels, hidden by cells of `cell` pixels.
std::shared_ptr<SimMIM> small_simmim(int64_t cell, const std::string& type = "l1",
                                     const std::string& region = "hidden",
                                     const std::string& decoder = "linear") {
  SimMIMConfig config;
  config.encoder.arch = "swin";
  config.encoder.img_size = {32, 32}, config.encoder.patch_size = {4, 4}, config.encoder.embed_dim = 8;
  config.encoder.depths = {2, 2}, config.encoder.num_heads = {1, 2}, config.encoder.window_size = 4;
  config.mask.mask_patch_size = cell;
  config.decoder.type = decoder;
  config.decoder.embed_dim = 8, config.decoder.depths = {2, 1}, config.decoder.window_size = 2;
  config.decoder.num_heads = decoder == "inverse-swin" ? std::vector<int64_t>{2, 1} : std::vector<int64_t>{2};
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
      for (const std::string region : {"hidden", "all"})
        for (const std::string decoder : {"linear", "mlp", "transformer", "inverse-swin"}) {
          const auto model = small_simmim(cell, type, region, decoder);
          Batch batch;
          batch.image = image;
          SeededDraws draws(9), again(9);
          const double loss = model->forward(batch, draws).total.item<double>();
          const auto hidden = model->draw_mask(3, again);
          EXPECT_NEAR(loss, plain_loss(*model, image, hidden, type == "mse", region == "all"), 1e-5 * loss)
              << cell << type << region << decoder;
        }
}

TEST(SimMIM, EveryParameterOfEveryDecoderLearns) {
  for (const std::string type : {"linear", "mlp", "transformer", "inverse-swin"}) {
    const auto model = small_simmim(8, "l1", "hidden", type);
    Batch batch;
    batch.image = SeededDraws(2).normal("image", {2, 3, 32, 32});
    SeededDraws draws(9);
    model->forward(batch, draws).total.backward();
    for (const auto& item : model->named_parameters())
      if (item.value().requires_grad()) {
        ASSERT_TRUE(item.value().grad().defined()) << type << " " << item.key();
        EXPECT_GT(item.value().grad().abs().max().item<double>(), 0) << type << " " << item.key();
      }
  }
}

TEST(SimMIM, DecodersHaveTheNamesAndSizesThatTheyAreDocumentedWith) {
  const auto sizes_of = [](const std::string& decoder, const std::string& name) {
    const auto model = small_simmim(8, "l1", "hidden", decoder);
    const auto named = model->named_parameters();
    const auto* found = named.find("decoder." + name);
    return found ? found->sizes().vec() : std::vector<int64_t>{};
  };
  using Sizes = std::vector<int64_t>;
  EXPECT_EQ(sizes_of("linear", "0.weight"), (Sizes{3 * 64, 16, 1, 1}));
  EXPECT_EQ(sizes_of("mlp", "0.weight"), (Sizes{8, 16, 1, 1}));
  EXPECT_EQ(sizes_of("mlp", "2.weight"), (Sizes{3 * 64, 8, 1, 1}));
  EXPECT_EQ(sizes_of("transformer", "embed.weight"), (Sizes{8, 16}));
  EXPECT_EQ(sizes_of("transformer", "pos_embed"), (Sizes{1, 16, 8}));
  EXPECT_EQ(sizes_of("transformer", "blocks.1.mlp.fc1.weight"), (Sizes{32, 8}));
  EXPECT_EQ(sizes_of("transformer", "pred.weight"), (Sizes{3 * 64, 8}));
  EXPECT_EQ(sizes_of("inverse-swin", "embed.weight"), (Sizes{16, 16}));  // coarse stage: twice embed_dim
  EXPECT_EQ(sizes_of("inverse-swin", "layers.0.upsample.expand.weight"), (Sizes{32, 16}));
  EXPECT_EQ(sizes_of("inverse-swin", "layers.1.blocks.0.attn.relative_position_bias_table"), (Sizes{9, 1}));
  EXPECT_EQ(sizes_of("inverse-swin", "pred.weight"), (Sizes{3 * 16, 8}));  // on the encoder's own patches
}

TEST(SimMIM, TheInverseSwinPutsEachTokenWhereItCameFrom) {
  const auto model = small_simmim(8, "l1", "hidden", "inverse-swin");
  const torch::NoGradGuard no_grad;
  for (const auto& item : model->named_parameters())  // no attention, no MLP: tokens keep to themselves
    if (item.key().find("decoder.layers") == 0 && item.key().find(".blocks.") != std::string::npos &&
        (item.key().find("attn.proj") != std::string::npos ||
         item.key().find("mlp.fc2") != std::string::npos))
      item.value().zero_();
  const auto z = SeededDraws(4).normal("z", {1, 16, 16});
  auto changed = z.clone();
  changed[0][6] += 1;  // row 1, column 2 of the 4 x 4 map: pixels 8..15, 16..23
  const auto moved = (model->predict_all(changed) - model->predict_all(z)).abs().sum({0, 1}).gt(0);
  auto expected = torch::zeros({32, 32}, torch::kBool);
  expected.slice(0, 8, 16).slice(1, 16, 24).fill_(true);
  EXPECT_TRUE(torch::equal(moved, expected));
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

std::string decoder_refusal(const std::vector<std::string>& settings) {
  train::RunConfig config("simmim");
  for (const std::string small :
       {"encoder.arch=swin", "encoder.img_size=32", "encoder.embed_dim=8", "encoder.depths=[1,1]",
        "encoder.num_heads=[1,1]", "encoder.window_size=4", "mask.mask_patch_size=8"})
    config.table.set_assignment(small, "test");
  SeededDraws draws(0);
  try {
    for (const auto& setting : settings) config.table.set_assignment(setting, "test");
    config.resolve();
    config.info().make(*config.method_config, draws);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

// Behind Swin-B at 192 pixels the defaults are the paper's inverse Swin-T, 27.5 M parameters besides the
// embedding.
TEST(SimMIM, TheInverseSwinsDefaultsFitThePapersEncoder) {
  nn::PixelDecoderConfig config;
  ConfigTable table;
  table.add("decoder", config);
  table.set("decoder.type", "inverse-swin", "test");
  config.resolve(table, "decoder");
  const auto decoder = nn::make_pixel_decoder(
      config, {.dim = 1024, .grid = {6, 6}, .stride = {32, 32}, .patch = {4, 4}, .in_chans = 3});
  EXPECT_EQ(decoder->grid(), (Size2{48, 48}));
  EXPECT_EQ(decoder->stride(), (Size2{4, 4}));
  int64_t count = 0;
  for (const auto& parameter : decoder->parameters()) count += parameter.numel();
  EXPECT_NEAR(static_cast<double>(count), 27.5e6 + 1024 * 768, 0.05e6);
}

TEST(SimMIM, RefusesDecodersThatDoNotFit) {
  EXPECT_THAT(decoder_refusal({"decoder.type=mpl"}), HasSubstr("mlp"));
  EXPECT_THAT(decoder_refusal({"decoder.type=transformer", "decoder.embed_dim=30"}),
              HasSubstr("no multiple of both 4 and its 16 heads"));
  EXPECT_THAT(decoder_refusal({"decoder.type=transformer", "decoder.num_heads=[1,2]"}),
              HasSubstr("give one"));
  EXPECT_THAT(decoder_refusal({"decoder.type=inverse-swin", "decoder.depths=[1,1]"}),
              HasSubstr("one number for each stage"));
  EXPECT_THAT(
      decoder_refusal({"decoder.type=inverse-swin", "decoder.depths=[1,1,1]", "decoder.num_heads=[4,2,1]"}),
      HasSubstr("as many stages as the encoder has"));
  EXPECT_THAT(decoder_refusal({"decoder.type=inverse-swin", "decoder.depths=[1,1]", "decoder.num_heads=[2,1]",
                               "decoder.window_size=3"}),
              HasSubstr("does not tile stage 0's grid of 4x4"));
  EXPECT_EQ(decoder_refusal({"decoder.type=inverse-swin", "decoder.depths=[1,1]", "decoder.num_heads=[2,1]",
                             "decoder.window_size=4"}),
            "");
}

}  // namespace
}  // namespace lacuna
