#include "lacuna/method/clip.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/method/golden.h"
#include "lacuna/nn/clip_names.h"
#include "tests/support/shared.h"

namespace lacuna {
namespace {

class ClipGolden : public ::testing::TestWithParam<std::pair<const char*, size_t>> {};

TEST_P(ClipGolden, EveryOutputAgrees) {
  const auto [name, outputs] = GetParam();
  const auto folder = std::string("goldens/clip/") + name;
  LACUNA_NEEDS_SHARED(folder);
  const auto result = verify_case(testing::shared_folder() / folder);
  EXPECT_TRUE(result.pass) << result.to_json().dump(2);
  EXPECT_EQ(result.outputs.size(), outputs);
}

INSTANTIATE_TEST_SUITE_P(Official, ClipGolden,
                         ::testing::Values(std::pair{"hf", 18U}, std::pair{"openai", 13U}),
                         [](const auto& tested) { return std::string(tested.param.first); });

ClipConfig small() {
  ClipConfig config;
  config.encoder.arch = "clip_vit";
  config.encoder.img_size = {16, 24}, config.encoder.patch_size = {8, 8};
  config.encoder.embed_dim = 16, config.encoder.depth = 2, config.encoder.num_heads = 2;
  config.text.context_length = 8, config.text.vocab_size = 20;
  config.text.embed_dim = 16, config.text.depth = 2, config.text.num_heads = 2;
  config.projection.dim = 8;
  return config;
}

std::shared_ptr<Clip> make(const ClipConfig& config) {
  SeededDraws draws(0);
  return std::make_shared<Clip>(config, draws);
}

Tensor picture(int64_t samples) { return SeededDraws(3).normal("picture", {samples, 3, 16, 24}); }

TEST(Clip, FillingBehindATextsEndIsNotRead) {
  const auto model = make(small());
  const auto text = torch::tensor({{18, 3, 4, 19, -1, -1}, {18, 5, 19, -1, -1, -1}});
  const auto padded = torch::tensor({{18, 3, 4, 19, 0, 0, 0, 0}, {18, 5, 19, 0, 0, 0, 0, 0}});
  const torch::NoGradGuard no_grad;
  EXPECT_TRUE(torch::allclose(model->text_features(text), model->text().forward(padded), 1e-5, 1e-6));
}

TEST(Clip, TokensSeeOnlyThoseBefore) {
  const auto model = make(small());
  const torch::NoGradGuard no_grad;
  const auto one = model->text().hidden(torch::tensor({{1, 2, 3, 4, 5, 6}}));
  const auto other = model->text().hidden(torch::tensor({{1, 2, 3, 9, 9, 9}}));
  EXPECT_TRUE(torch::allclose(one.slice(1, 0, 3), other.slice(1, 0, 3), 1e-5, 1e-6));
  EXPECT_GT((one - other).slice(1, 3).abs().max().item<double>(), 1e-3);
  // A hidden token changes nothing for those behind it.
  const auto attended = torch::tensor({{1, 0, 1, 1, 1, 1}});
  const auto hidden = model->text().hidden(torch::tensor({{1, 2, 3, 4, 5, 6}}), attended),
             changed = model->text().hidden(torch::tensor({{1, 7, 3, 4, 5, 6}}), attended);
  EXPECT_TRUE(torch::allclose(hidden.slice(1, 2), changed.slice(1, 2), 1e-5, 1e-6));
}

TEST(Clip, LossIsThatOfTheDiagonal) {
  const auto logits = torch::tensor({{2.0, 0.0}, {1.0, 3.0}});
  const double rows = (std::log(std::exp(2) + 1) - 2 + std::log(std::exp(1) + std::exp(3)) - 3) / 2;
  const double columns = (std::log(std::exp(2) + std::exp(1)) - 2 + std::log(1 + std::exp(3)) - 3) / 2;
  EXPECT_NEAR(contrastive_loss(logits, logits.t()).item<double>(), (rows + columns) / 2, 1e-6);
}

TEST(Clip, ScaleStartsAtItsTemperatureAndIsClipped) {
  const auto model = make(small());
  EXPECT_NEAR(model->scale().item<double>(), 1 / 0.07, 1e-4);
  {
    const torch::NoGradGuard no_grad;
    model->named_parameters()["logit_scale"].fill_(9);
  }
  model->after_step({});
  EXPECT_NEAR(model->scale().item<double>(), 100, 1e-3);
}

TEST(Clip, NamesGoToTransformersAndBack) {
  const auto model = make(small());
  const auto own = model->weights();
  const auto hf = nn::clip_to_hf(own);
  EXPECT_TRUE(hf.count("vision_model.encoder.layers.1.self_attn.v_proj.bias"));
  EXPECT_TRUE(hf.count("text_model.final_layer_norm.weight"));
  EXPECT_EQ(hf.at("visual_projection.weight").sizes(), (std::vector<int64_t>{8, 16}));
  EXPECT_FALSE(hf.count("visual.proj"));
  const auto back = nn::clip_from_hf(hf);
  ASSERT_EQ(back.size(), own.size());
  for (const auto& [name, tensor] : own) EXPECT_TRUE(back.at(name).equal(tensor)) << name;
}

TEST(Clip, SizesAreReadOffOpenAIsTensors) {
  auto config = small();
  config.encoder.img_size = {16, 16};
  const auto sizes = nn::clip_sizes(make(config)->weights());
  EXPECT_EQ(sizes["encoder"]["depth"], 2);
  EXPECT_EQ(sizes["encoder"]["img_size"], (Json{16, 16}));
  EXPECT_EQ(sizes["text"]["vocab_size"], 20);
  EXPECT_EQ(sizes["projection"]["dim"], 8);
  EXPECT_TRUE(nn::clip_sizes({{"a", torch::zeros(1)}}).is_null());
}

TEST(ClipVision, OverlappingPatchesAndHiddenLayers) {
  auto config = small().encoder;
  config.stride = {4, 8};
  EXPECT_EQ(config.grid(), (Size2{3, 3}));
  nn::ClipVision model(config, 8);
  SeededDraws draws(0);
  model.initialize(draws);
  const torch::NoGradGuard no_grad;
  const auto image = picture(2);
  EXPECT_EQ(model.tokens(image).sizes(), (std::vector<int64_t>{2, 10, 8}));
  EXPECT_TRUE(model.hidden(image, -2).equal(model.hidden(image, 1)));
  EXPECT_TRUE(torch::allclose(model.forward(image), model.tokens(image).select(1, 0), 1e-5, 1e-6));
}

TEST(ClipVision, PositionsAreResizedByRowAndColumn) {
  const auto positions = torch::arange(5, torch::kFloat).unsqueeze(1);  // class, then 1 2 / 3 4
  const auto wide = nn::resize_clip_positions(positions, {2, 2}, {2, 4}).squeeze(1);
  EXPECT_TRUE(
      torch::allclose(wide, torch::tensor({0.0F, 1.0F, 1.25F, 1.75F, 2.0F, 3.0F, 3.25F, 3.75F, 4.0F})))
      << wide;
}

TEST(Clip, ImpossibleSizesAreRefused) {
  auto config = small();
  config.encoder.patch_size = {7, 7};
  ConfigTable table;
  table.add("", config);
  EXPECT_THROW(config.resolve(table), Error);
}

}  // namespace
}  // namespace lacuna
