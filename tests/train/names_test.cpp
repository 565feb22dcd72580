// Weights in and out: names of other libraries, configs read off tensors, exports, layer-wise groups,
// schedules.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/train/advice.h"
#include "lacuna/train/export.h"
#include "lacuna/train/infer.h"
#include "lacuna/train/names.h"
#include "lacuna/train/optim.h"
#include "lacuna/train/schedule.h"
#include "tests/support/pictures.h"
#include "tests/support/tiny.h"

namespace lacuna::train {
namespace {

using ::testing::HasSubstr;
using ::testing::TempDir;

std::unique_ptr<RunConfig> tiny_swin(const std::string& method = "simmim") {
  auto config = std::make_unique<RunConfig>(method);
  for (const char* setting : {"encoder.arch=swin", "encoder.img_size=32", "encoder.patch_size=4",
                              "encoder.embed_dim=8", "encoder.depths=[2, 2]", "encoder.num_heads=[1, 2]",
                              "encoder.window_size=4", "encoder.mlp_ratio=2.0"})
    config->table.set_assignment(setting, "test");
  if (config->table.has("mask.mask_patch_size")) config->table.set("mask.mask_patch_size", 8, "test");
  if (config->table.has("head.num_classes")) config->table.set("head.num_classes", 3, "test");
  config->resolve();
  return config;
}

io::Tensors random_weights(const RunConfig& config) {
  io::Tensors out;
  for (const auto& [name, tensor] : config.make_method()->weights())
    out[name] = tensor.is_floating_point() ? torch::randn_like(tensor) : tensor.clone();
  return out;
}

void expect_equal(const io::Tensors& got, const io::Tensors& wanted) {
  for (const auto& [name, tensor] : wanted) {
    if (is_derived(name)) continue;
    ASSERT_EQ(got.count(name), 1U) << name;
    EXPECT_TRUE(got.at(name).equal(tensor)) << name;
  }
  for (const auto& [name, tensor] : got) EXPECT_EQ(wanted.count(name), 1U) << name;
}

TEST(Names, MaeToTransformersAndBack) {
  const auto config = testing::tiny_config("mae", {32, 32}, {8, 8}, 3);
  const auto official = random_weights(*config);
  const auto hf = from_official(official, "hf");
  EXPECT_EQ(hf.count("vit.encoder.layer.1.attention.attention.query.weight"), 1U);
  EXPECT_EQ(hf.count("decoder.decoder_layers.0.layernorm_after.bias"), 1U);
  EXPECT_TRUE(hf.at("vit.encoder.layer.0.attention.attention.key.bias")
                  .equal(official.at("blocks.0.attn.qkv.bias").slice(0, 16, 32)));
  EXPECT_EQ(format_of(hf), "hf");
  expect_equal(to_official(hf), official);
}

TEST(Names, TheNamesInsideTransformers5AreReadToo) {
  io::Tensors tensors{{"vit.embeddings.patch_embeddings.projection.weight", torch::randn({4, 3, 2, 2})},
                      {"vit.layers.0.attention.q_proj.weight", torch::full({4, 4}, 1.0)},
                      {"vit.layers.0.attention.k_proj.weight", torch::full({4, 4}, 2.0)},
                      {"vit.layers.0.attention.v_proj.weight", torch::full({4, 4}, 3.0)},
                      {"vit.layers.0.mlp.fc1.bias", torch::randn({8})}};
  const auto official = to_official(tensors);
  EXPECT_EQ(official.at("blocks.0.attn.qkv.weight").slice(0, 8).mean().item<float>(), 3.0F);
  EXPECT_EQ(official.count("blocks.0.mlp.fc1.bias"), 1U);
}

TEST(Names, SwinToTransformersAndBack) {
  const auto official = random_weights(*tiny_swin());
  const auto hf = from_official(official, "hf");
  EXPECT_EQ(hf.count("swin.encoder.layers.0.blocks.1.attention.self.relative_position_bias_table"), 1U);
  EXPECT_EQ(hf.count("swin.encoder.layers.0.downsample.reduction.weight"), 1U);
  expect_equal(to_official(hf), official);
}

TEST(Names, TimmCountsThePatchMergingToTheNextStage) {
  const auto official = random_weights(*tiny_swin("supervised"));
  const auto timm = from_official(official, "timm");
  EXPECT_EQ(timm.count("layers.1.downsample.norm.weight"), 1U);
  EXPECT_EQ(timm.count("layers.0.downsample.norm.weight"), 0U);
  EXPECT_EQ(timm.count("head.fc.weight"), 1U);
  EXPECT_EQ(format_of(timm), "timm");
  expect_equal(to_official(timm), official);
}

TEST(Infer, ConfigsAreReadOffTensors) {
  const auto written = tiny_swin();
  const auto found = config_of({random_weights(*written), {}, "swin.safetensors"});
  EXPECT_EQ(found->method, "simmim");
  for (const char* key :
       {"embed_dim", "depths", "num_heads", "window_size", "img_size", "patch_size", "mlp_ratio"})
    EXPECT_EQ(found->table.get(str("encoder.", key)), written->table.get(str("encoder.", key))) << key;

  const auto beit = testing::tiny_config("simmim", {32, 32}, {8, 8}, 3);
  const auto read = config_of({random_weights(*beit), {}, "beit.safetensors"});
  for (const char* key : {"arch", "embed_dim", "depth", "num_heads", "img_size", "use_shared_rel_pos_bias"})
    EXPECT_EQ(read->table.get(str("encoder.", key)), beit->table.get(str("encoder.", key))) << key;
}

TEST(Infer, AFineTunedFileLoadsAsAClassifier) {
  const auto written = testing::tiny_config("supervised", {32, 32}, {8, 8}, 3);
  const Weights weights{random_weights(*written), {}, "tuned.safetensors"};
  const auto found = config_of(weights, {"encoder.num_heads=2"});
  EXPECT_EQ(found->method, "supervised");
  EXPECT_EQ(found->table.get("head.num_classes"), 3);
  found->resolve();
  const auto method = found->make_method();
  EXPECT_TRUE(load_into(*method, weights, *found).empty());
  expect_equal(method->weights(), weights.tensors);
}

TEST(Infer, PretrainedWeightsStartAClassifierAndMissingOnesAreNamed) {
  const auto mae = testing::tiny_config("mae", {32, 32}, {8, 8}, 3);
  auto config = testing::tiny_config("supervised", {64, 64}, {8, 8}, 3);
  const auto method = config->make_method();
  Weights weights{random_weights(*mae), {}, "mae.safetensors"};
  EXPECT_TRUE(load_into(*method, weights, *mae).empty());
  EXPECT_TRUE(
      method->weights().at("blocks.1.mlp.fc1.weight").equal(weights.tensors.at("blocks.1.mlp.fc1.weight")));
  EXPECT_EQ(method->weights().at("pos_embed").size(1), 65);
  weights.tensors.erase("blocks.0.norm1.weight");
  try {
    load_into(*method, weights, *mae);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("1 missing (blocks.0.norm1.weight)"));
  }
}

TEST(Export, WritesWholeAndEncoderAndConfig) {
  const auto config = testing::tiny_config("mae", {32, 32}, {8, 8}, 3);
  config->data.mean = {0.1, 0.2, 0.3}, config->data.std = {0.4, 0.5, 0.6};
  const Weights weights{random_weights(*config), {}, "mae.safetensors"};
  const testing::TemporaryFolder folder;
  export_weights(weights, *config, "hf", folder.path() / "hf");
  const Json description = Json::parse(io::read_file(folder.path() / "hf/config.json"));
  EXPECT_EQ(description["hidden_size"], 16);
  EXPECT_EQ(description["intermediate_size"], 64);
  EXPECT_EQ(description["model_type"], "vit_mae");
  const auto encoder = io::load_safetensors(folder.path() / "hf/encoder.safetensors");
  EXPECT_EQ(encoder.count("vit.layernorm.weight"), 1U);
  for (const auto& [name, tensor] : encoder) EXPECT_FALSE(name.starts_with("decoder")) << name;
  EXPECT_THROW(export_weights(weights, *config, "hf", folder.path() / "hf"), Error);
  EXPECT_THROW(
      export_weights({random_weights(*testing::tiny_config("simmim", {32, 32}, {8, 8}, 3)), {}, "x"},
                     *testing::tiny_config("simmim", {32, 32}, {8, 8}, 3), "hf", folder.path() / "beit"),
      Error);
  EXPECT_FALSE(io::fs::exists(folder.path() / "beit"));
}

TEST(Export, ADeepDecoderIsWrittenWhereItsNamesMeanSomething) {
  RunConfig config("simmim");
  for (const std::string setting :
       {"encoder.arch=swin", "encoder.img_size=32", "encoder.embed_dim=8", "encoder.depths=[1,1]",
        "encoder.num_heads=[1,1]", "encoder.window_size=4", "mask.mask_patch_size=8", "decoder.type=mlp"})
    config.table.set_assignment(setting, "test");
  config.resolve();
  const Weights weights{random_weights(config), {}, "simmim.safetensors"};
  const testing::TemporaryFolder folder;
  EXPECT_THROW(export_weights(weights, config, "hf", folder.path() / "hf"),
               Error);  // it has a linear one alone
  export_weights(weights, config, "official", folder.path() / "official");
  EXPECT_EQ(io::load_safetensors(folder.path() / "official/model.safetensors").count("decoder.2.weight"), 1U);
  const auto again = config_of(find_weights((folder.path() / "official/model.safetensors").string()));
  EXPECT_EQ(again->table.get("decoder.type"), "mlp");
  export_weights(weights, config, "timm", folder.path() / "timm");
  for (const auto& [name, tensor] : io::load_safetensors(folder.path() / "timm/encoder.safetensors"))
    EXPECT_FALSE(name.starts_with("decoder")) << name;
}

TEST(Groups, LayerDecayScalesByDistanceFromTheHead) {
  const auto config = testing::tiny_config("supervised", {32, 32}, {8, 8}, 3);  // 2 blocks: 4 layers
  const auto method = config->make_method();
  std::map<std::string, std::pair<double, double>> of;
  for (const auto& group : parameter_groups(*method, 0.05, 0.5))
    for (const auto& name : group.names) of[name] = {group.lr_scale, group.weight_decay};
  EXPECT_EQ(of.at("pos_embed"), std::pair(0.125, 0.0));
  EXPECT_EQ(of.at("blocks.0.mlp.fc1.weight"), std::pair(0.25, 0.05));
  EXPECT_EQ(of.at("blocks.1.norm1.bias"), std::pair(0.5, 0.0));
  EXPECT_EQ(of.at("head.weight"), std::pair(1.0, 0.05));
  EXPECT_EQ(parameter_groups(*method, 0.05).size(), 2U);
}

TEST(Schedule, TimmCosineIsNotShiftedByTheWarmup) {
  const IterationSchedule cosine{.steps = 100, .warmup = 10, .min_lr = 0.1, .warmup_lr = 0.2};
  EXPECT_DOUBLE_EQ(cosine.at(0, 1.2), 0.2);
  EXPECT_DOUBLE_EQ(cosine.at(5, 1.2), 0.7);
  EXPECT_NEAR(cosine.at(50, 1.1), 0.6, 1e-12);
  EXPECT_DOUBLE_EQ(cosine.at(100, 1.2), 0.1);
  const IterationSchedule steps{.type = "multistep", .steps = 100, .milestones = {30, 60}, .gamma = 0.1};
  EXPECT_DOUBLE_EQ(steps.at(29, 1), 1);
  EXPECT_DOUBLE_EQ(steps.at(30, 1), 0.1);
  EXPECT_NEAR(steps.at(99, 1), 0.01, 1e-15);
}

TEST(Schedule, TriStageRisesHoldsAndFallsByAFactor) {
  // fairseq's TriStageLRSchedule with init_lr_scale 0.01 and final_lr_scale 0.05.
  const IterationSchedule three{.type = "tri_stage",
                                .steps = 250,
                                .warmup = 80,
                                .min_lr = 0.05,
                                .warmup_lr = 0.01,
                                .hold = 20,
                                .decay = 720};
  EXPECT_DOUBLE_EQ(three.at(0, 1), 0.01);
  EXPECT_DOUBLE_EQ(three.at(40, 1), 0.01 + 0.99 * 0.5);
  EXPECT_DOUBLE_EQ(three.at(99, 1), 1);
  EXPECT_NEAR(three.at(250, 1), std::exp(std::log(0.05) * 150 / 720), 1e-12);
  EXPECT_DOUBLE_EQ(three.at(900, 1), 0.05);
  auto rest = three;
  rest.decay = 0;  // what is left of the run
  EXPECT_NEAR(rest.at(249.999, 1), 0.05, 1e-5);
}

TEST(Schedule, IterationSchedulesLagAStepAndKeepMinLrAbsolute) {
  TrainConfig config;
  config.schedule = "timm_cosine";
  const Plan plan{.steps_per_epoch = 10,
                  .steps = 100,
                  .epochs = 10,
                  .warmup_epochs = 2,
                  .lr = 1,
                  .min_lr = 0.1,
                  .warmup_lr = 0.5};
  EXPECT_DOUBLE_EQ(learning_rate(config, plan, 0), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate(config, plan, 1), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate(config, plan, 2), 0.525);
  EXPECT_DOUBLE_EQ(learning_rate(config, plan, 101, 0.3), 0.1);
  config.schedule = "cosine";
  EXPECT_DOUBLE_EQ(learning_rate(config, plan, 100, 0.3), 0.03);
}

}  // namespace
}  // namespace lacuna::train
