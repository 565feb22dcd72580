#include "lacuna/method/salt.h"

#include <gtest/gtest.h>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/method/golden.h"
#include "lacuna/method/salt_names.h"
#include "lacuna/target/cubes.h"
#include "lacuna/train/optim.h"
#include "tests/support/shared.h"

namespace lacuna {
namespace {

SALTConfig tiny(int64_t stage, bool rope = true) {
  SALTConfig config;
  ConfigTable table;
  table.add("", config);
  for (const char* setting :
       {"encoder.arch=vit", "encoder.img_size=16", "encoder.patch_size=8", "encoder.num_frames=8",
        "encoder.embed_dim=24", "encoder.depth=2", "encoder.num_heads=2", "predictor.embed_dim=24",
        "predictor.depth=1", "predictor.num_heads=2", "mask.num_blocks=[1, 1]",
        "mask.spatial_min=[0.25, 0.5]", "mask.spatial_max=[0.25, 0.5]", "teacher.arch=vit",
        "teacher.embed_dim=16", "teacher.depth=1", "teacher.num_heads=2"})
    table.set_assignment(setting, "test");
  table.set("stage", stage, "test");
  table.set("encoder.use_rope", rope, "test");
  config.resolve(table);
  return config;
}

std::shared_ptr<SALT> make(const SALTConfig& config) {
  SeededDraws draws(1);
  return std::make_shared<SALT>(config, draws);
}

Batch films(int64_t count) {
  Batch batch;
  batch.video = SeededDraws(3).normal("film", {count, 3, 8, 16, 16});
  for (int64_t i = 0; i < count; ++i) batch.sample.push_back(i), batch.key.push_back(str("film ", i));
  return batch;
}

double step(SALT& model, train::Optimizer& optimizer, const Batch& batch) {
  SeededDraws draws(0, 0, batch.sample);
  const auto loss = model.forward(batch, draws);
  optimizer.zero_grad();
  loss.total.backward();
  optimizer.step(1e-3);
  return loss.total.item<double>();
}

TEST(SALT, GoldenCases) {
  LACUNA_NEEDS_SHARED("goldens/salt");
  for (const auto& entry : io::fs::directory_iterator(lacuna::testing::shared_folder() / "goldens/salt")) {
    const auto result = verify_case(entry.path());
    EXPECT_TRUE(result.pass) << result.to_line();
  }
}

TEST(SALT, BothStagesLearnABatchAndTheTeacherStays) {
  for (const int64_t stage : {1, 2}) {
    const auto model = make(tiny(stage, stage == 1));
    const auto optimizer = train::make_adamw(train::parameter_groups(*model, 0), 0.9, 0.95);
    const auto batch = films(4);
    const double first = step(*model, *optimizer, batch);
    const auto teacher = stage == 2 ? model->teacher()->parameters()[0].clone() : Tensor();
    double last = first;
    for (int i = 0; i < 30; ++i) last = step(*model, *optimizer, batch);
    EXPECT_LT(last, first) << stage;
    if (stage == 2) EXPECT_TRUE(model->teacher()->parameters()[0].equal(teacher));
    for (const auto& item : model->named_parameters()) {
      if (!item.value().requires_grad()) continue;
      ASSERT_TRUE(item.value().grad().defined()) << item.key();
      EXPECT_GT(item.value().grad().abs().max().item<double>(), 0) << item.key();
    }
  }
}

TEST(SALT, TheTeacherIsNoPartOfACheckpoint) {
  const auto model = make(tiny(2));
  const auto batch = films(2);
  SeededDraws draws(0, 0, batch.sample);
  model->forward(batch, draws);
  for (const auto& [name, tensor] : model->weights())
    EXPECT_TRUE(name.starts_with("encoder.") || name.starts_with("predictor.")) << name;
}

TEST(SALT, ATeacherWithoutWeightsIsRefusedInTraining) {
  EXPECT_THROW(make(tiny(2))->prepare_training(), Error);
  EXPECT_NO_THROW(make(tiny(1))->prepare_training());
}

TEST(SALT, MovingTeacher) {
  auto config = tiny(2);
  config.teacher.type = "ema";
  config.teacher.momentum = {0.5, 1.0};
  const auto model = make(config);
  ASSERT_NE(model->ema(), nullptr);
  const auto name = "encoder.norm.weight";
  const auto before = model->ema()->average().at(name).clone();
  const auto optimizer = train::make_adamw(train::parameter_groups(*model, 0), 0.9, 0.95);
  step(*model, *optimizer, films(4));
  model->after_step({.step = 1, .steps = 10});  // the first update: momentum 0.5
  const auto now = model->weights().at(name);
  EXPECT_TRUE(model->ema()->average().at(name).allclose((before + now) / 2, 1e-5, 1e-7));
  for (const auto& [key, tensor] : model->weights()) EXPECT_FALSE(key.starts_with("ema.")) << key;
}

TEST(SALT, MaskTokensDecayBiasesAndNormsDoNot) {
  const auto model = make(tiny(2));
  const auto parameters = model->named_parameters();
  EXPECT_TRUE(model->decays("predictor.mask_tokens.0", parameters["predictor.mask_tokens.0"]));
  EXPECT_FALSE(model->decays("encoder.norm.weight", parameters["encoder.norm.weight"]));
  EXPECT_FALSE(model->decays("encoder.patch_embed.proj.bias", parameters["encoder.patch_embed.proj.bias"]));
  EXPECT_EQ(model->part_of("predictor.mask_tokens.0"), "predictor");
}

TEST(SALT, FeaturesSeeEveryCubeAndAreNeverMasked) {
  const auto model = make(tiny(1));
  const auto batch = films(2);
  const auto features = model->features(batch, {});
  EXPECT_EQ(features.sizes(), (std::vector<int64_t>{2, 24}));
  EXPECT_TRUE(features.equal(model->features(batch, {})));
  EXPECT_TRUE(features.allclose(model->tokens(batch).mean(1)));
  for (int64_t t = 0; t < 8; t += 2) {
    auto changed = batch;
    changed.video = batch.video.clone();
    changed.video.slice(2, t, t + 2).slice(3, 0, 8).slice(4, 8, 16).add_(1);
    EXPECT_FALSE(model->features(changed, {}).equal(features));
  }
  EXPECT_THROW(model->features(batch, {.pool = "token"}), Error);
}

TEST(SALT, PreviewFits) {
  for (const int64_t stage : {1, 2}) {
    const auto model = make(tiny(stage));
    SeededDraws draws(1);
    const auto shown = model->preview(films(2), draws);
    EXPECT_EQ(shown.hidden_cubes.sizes(), (std::vector<int64_t>{2, 4, 2, 2}));
    EXPECT_TRUE(shown.hidden_cubes.any().item<bool>());
    EXPECT_FALSE(shown.hidden_cubes.all().item<bool>());
    EXPECT_EQ(shown.predicted_video.defined(), stage == 1);
    EXPECT_TRUE(shown.explained.has_value());
    if (stage == 1) EXPECT_EQ(shown.predicted_video.sizes(), shown.video.sizes());
  }
}

TEST(Cubes, BackAndForthAndUnits) {
  const auto config = tiny(1).encoder;
  const auto video = films(2).video;
  const auto ids = nn::all_tokens(2, config.grid().count(), torch::kCPU);
  const auto cubes = target::cubes(video, config, ids);
  EXPECT_TRUE(target::uncube(cubes, config).equal(video));
  // Order inside a cube: frame, row, column, channel.
  EXPECT_EQ(cubes[0][0][1].item<float>(), video[0][1][0][0][0].item<float>());
  EXPECT_EQ(cubes[0][0][3].item<float>(), video[0][0][0][0][1].item<float>());
  EXPECT_EQ(cubes[0][0][3 * 64].item<float>(), video[0][0][1][0][0].item<float>());
  const auto units = target::cube_units(cubes, 3, "patch_channel");
  const auto normed = ((cubes - units.mean) / units.deviation).view({2, -1, 128, 3});
  EXPECT_LT(normed.mean(2).abs().max().item<double>(), 1e-5);
  EXPECT_TRUE(normed.var(2).allclose(torch::ones({2, config.grid().count(), 3}), 1e-4, 1e-4));
  EXPECT_TRUE(target::cube_units(cubes, 3, "none").deviation.eq(1).all().item<bool>());
}

TEST(SALTNames, ReleasedCheckpointsAndTransformers) {
  const auto names = salt_weight_names();
  const auto own = make(tiny(2))->weights();
  // As facebookresearch/jepa saves it: both encoders, wrapped.
  WeightNames::Tensors released;
  for (const auto& [name, tensor] : own) {
    const auto dot = name.find('.');
    released[name.substr(0, dot) + ".module.backbone" + name.substr(dot)] = tensor;
    if (name.starts_with("encoder."))
      released["target_encoder.module.backbone" + name.substr(dot)] = tensor + 1;
  }
  ASSERT_TRUE(names.to_official(released));
  ASSERT_EQ(released.size(), own.size());
  EXPECT_TRUE(released.at("encoder.norm.bias").equal(own.at("encoder.norm.bias") + 1));  // the average
  EXPECT_TRUE(released.at("predictor.predictor_norm.bias").equal(own.at("predictor.predictor_norm.bias")));
  // A bare encoder.
  WeightNames::Tensors bare;
  for (const auto& [name, tensor] : own)
    if (name.starts_with("encoder.")) bare["backbone." + name.substr(8)] = tensor;
  ASSERT_TRUE(names.to_official(bare));
  EXPECT_EQ(bare.count("encoder.blocks.1.mlp.fc2.weight"), 1U);
  // transformers' VJEPA2Model, there and back.
  auto hf = names.from_official(own, "hf");
  EXPECT_EQ(hf.count("encoder.layer.0.attention.query.weight"), 1U);
  EXPECT_EQ(hf.at("predictor.embeddings.mask_tokens").sizes(), (std::vector<int64_t>{2, 1, 1, 24}));
  ASSERT_TRUE(names.to_official(hf));
  ASSERT_EQ(hf.size(), own.size());
  for (const auto& [name, tensor] : own) EXPECT_TRUE(hf.at(name).equal(tensor)) << name;
  const auto config = names.infer(own);
  EXPECT_EQ(config["encoder"]["embed_dim"], 24);
  EXPECT_EQ(config["encoder"]["tubelet_size"], 2);
  EXPECT_TRUE(config["encoder"]["use_rope"].get<bool>());
  WeightNames::Tensors picture{{"patch_embed.proj.weight", torch::zeros({4, 3, 2, 2})}};
  EXPECT_FALSE(names.to_official(picture));
  EXPECT_TRUE(names.infer(picture).is_null());
}

}  // namespace
}  // namespace lacuna
