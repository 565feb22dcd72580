// From pre-training to fine-tuning, export and claims, by the program itself.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <numeric>

#include "tests/support/program.h"

namespace lacuna::testing {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr const char* kData = "synthetic:scenes?count=240&size=32";

std::vector<std::string> with(std::vector<std::string> arguments, const std::vector<std::string>& settings) {
  for (const auto& setting : settings) arguments.insert(arguments.end(), {"--set", setting});
  return arguments;
}

Outcome succeed(const std::vector<std::string>& arguments) {
  auto outcome = run_program(arguments);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  return outcome;
}

fs::path pretrained(const fs::path& run, const std::string& method) {
  std::vector<std::string> settings = {"encoder.img_size=32", "encoder.embed_dim=16", "train.batch_size=16",
                                       "train.base_lr=1e-2",  "health.samples=32",    "train.steps=30",
                                       "train.log_every=1",   "train.seed=3"};
  if (method == "mae")
    settings.insert(settings.end(),
                    {"encoder.arch=vit", "encoder.patch_size=8", "encoder.depth=2", "encoder.num_heads=2",
                     "decoder.embed_dim=16", "decoder.depth=1", "decoder.num_heads=2"});
  else
    settings.insert(settings.end(),
                    {"encoder.arch=swin", "encoder.patch_size=4", "encoder.depths=[2, 2]",
                     "encoder.num_heads=[1, 2]", "encoder.window_size=4", "mask.mask_patch_size=8"});
  succeed(with({"pretrain", method, "--out", run.string(), "--data", kData}, settings));
  return run;
}

const std::vector<std::string> kShort = {
    "train.epochs=3",        "train.batch_size=16",  "train.base_lr=5e-2",  "train.warmup_epochs=0.5",
    "augment.auto_augment=", "augment.erase_prob=0", "encoder.drop_path=0", "mixup.prob=0",
    "health.samples=32",     "train.log_every=1"};

std::vector<double> losses(const fs::path& run) {
  std::vector<double> out;
  std::ifstream file(run / "metrics.jsonl");
  for (std::string line; std::getline(file, line);) {
    const auto json =
        Json::parse(line, nullptr, /*allow_exceptions=*/false);  // the last one may be being written
    if (json.is_object() && json.contains("loss")) out.push_back(json["loss"]);
  }
  return out;
}

TEST(Finetune, StartsFromTheEncoderAndKeepsItsRun) {
  for (const std::string method : {"mae", "simmim"}) {
    const TemporaryFolder folder;
    const auto run = pretrained(folder / method, method);
    const auto outcome = succeed(with({"eval", "finetune", run.string(), "--data", kData, "--json"}, kShort));
    const auto result = Json::parse(outcome.out);
    EXPECT_EQ(result["protocol"], "finetune");
    EXPECT_GE(result["metrics"]["top1"].get<double>(), 0);
    EXPECT_GT(result["metrics"]["loss"].get<double>(), 0);
    EXPECT_EQ(result["settings"]["train.layer_decay"], method == "mae" ? 0.65 : 0.8);
    EXPECT_TRUE(fs::exists(run / "evals/finetune.json"));
    const auto tuned = losses(run / "evals/finetune");
    ASSERT_GE(tuned.size(), 20U);
    EXPECT_LT(std::accumulate(tuned.end() - 10, tuned.end(), 0.0) / 10, tuned.front());
    // The classifier is a run like any other: its features are read, and it is scored again with the same
    // figures.
    succeed({"features", (run / "evals/finetune").string(), "--data", kData, "--out",
             (folder / "f.safetensors").string()});
    // A second fine-tuning does not write over the first.
    succeed(with({"eval", "finetune", run.string(), "--data", kData}, kShort));
    EXPECT_EQ(losses(run / "evals/finetune-2"), tuned);
  }
}

TEST(Finetune, FromScratchIsTheSameNetworkWithFreshWeights) {
  const TemporaryFolder folder;
  const auto run = pretrained(folder / "mae", "mae");
  auto settings = kShort;
  settings.push_back("eval.from_scratch=true");
  settings.push_back("data.label_share=0.5");
  const auto outcome = succeed(with({"eval", "finetune", run.string(), "--data", kData, "--json"}, settings));
  const auto result = Json::parse(outcome.out);
  EXPECT_EQ(result["settings"]["from_scratch"], true);
  EXPECT_EQ(result["settings"]["train.layer_decay"], 1.0);
  EXPECT_EQ(result["settings"]["data.label_share"], 0.5);
}

TEST(Finetune, AKilledOneIsContinued) {
  const TemporaryFolder folder;
  const auto run = pretrained(folder / "mae", "mae");
  auto settings = kShort;
  settings.push_back("train.checkpoint_every=5");
  const auto arguments = with({"eval", "finetune", run.string(), "--data", kData}, settings);
  const auto place = run / "evals/finetune";
  const Running process(arguments, folder.path());
  ASSERT_TRUE(wait_until([&] { return losses(place).size() > 8; }, 120));
  process.signal(SIGKILL);
  process.wait();
  succeed(arguments);
  EXPECT_FALSE(fs::exists(run / "evals/finetune-2"));
  succeed(arguments);  // unbroken, beside it
  EXPECT_EQ(losses(place), losses(run / "evals/finetune-2"));
}

TEST(Finetune, BareWeightsNeedAFolder) {
  const TemporaryFolder folder;
  const auto run = pretrained(folder / "mae", "mae");
  succeed({"export", run.string(), "--format", "official", "--out", (folder / "official").string()});
  const auto weights = (folder / "official/model.safetensors").string();
  const auto refused = run_program(with({"eval", "finetune", weights, "--data", kData}, kShort));
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.err, HasSubstr("--out FOLDER"));
  succeed(with({"eval", "finetune", weights, "--data", kData, "--out", (folder / "tuned").string()}, kShort));
  EXPECT_TRUE(fs::exists(folder / "tuned/config.toml"));
}

// Partial loading is asked for, and the run's record says what was left out; a run that was killed before its
// first checkpoint begins with the same weights again.
TEST(Init, PartialLoadingIsAskedForAndRecorded) {
  const TemporaryFolder folder;
  const auto first = pretrained(folder / "mae", "mae");
  succeed({"export", first.string(), "--format", "official", "--out", (folder / "official").string()});
  const auto encoder = (folder / "official/encoder.safetensors").string();
  const auto run = folder / "second";
  auto arguments =
      with({"pretrain", "mae", "--out", run.string(), "--data", kData, "--init", encoder},
           {"encoder.img_size=32", "encoder.embed_dim=16", "encoder.arch=vit", "encoder.patch_size=8",
            "encoder.depth=2", "encoder.num_heads=2", "decoder.embed_dim=16", "decoder.depth=1",
            "decoder.num_heads=2", "train.batch_size=16", "train.steps=2", "train.log_every=1"});
  const auto refused = run_program(arguments);
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.err, HasSubstr("missing"));
  EXPECT_THAT(refused.err, HasSubstr("--partial"));
  EXPECT_FALSE(fs::exists(run));
  arguments.push_back("--partial");
  const auto loaded = succeed(arguments);
  EXPECT_THAT(loaded.err, HasSubstr("tensors not loaded: "));
  const auto record = [&] {
    std::ifstream file(run / "metrics.jsonl");
    std::string line;
    std::getline(file, line);
    return Json::parse(line);
  };
  const auto begun = record();
  EXPECT_EQ(begun["step"], 0);
  EXPECT_EQ(begun["init"]["weights"], encoder);
  const auto left = begun["init"]["not_loaded"].get<std::vector<std::string>>();
  EXPECT_THAT(left, ::testing::IsSupersetOf({"mask_token", "decoder_pred.weight"}));
  EXPECT_THAT(left, ::testing::Not(::testing::Contains("cls_token")));
  const auto wanted = losses(run);
  fs::remove_all(run / "checkpoints");
  succeed({"pretrain", "--out", run.string(), "--resume"});
  EXPECT_EQ(record(), begun);
  EXPECT_EQ(losses(run), wanted);
}

TEST(Export, FormatsAndFaults) {
  const TemporaryFolder folder;
  const auto run = pretrained(folder / "simmim", "simmim");
  for (const std::string format : {"official", "timm", "hf"}) {
    const auto out = folder / format;
    succeed({"export", run.string(), "--format", format, "--out", out.string()});
    EXPECT_TRUE(fs::exists(out / "model.safetensors"));
    EXPECT_TRUE(fs::exists(out / "encoder.safetensors"));
  }
  const auto described =
      Json::parse(succeed({"inspect", (folder / "hf/model.safetensors").string(), "--json"}).out);
  EXPECT_EQ(described["names"], "hf");
  EXPECT_EQ(described["decoder"], true);
  const auto unknown =
      run_program({"export", run.string(), "--format", "hff", "--out", (folder / "x").string()});
  EXPECT_EQ(unknown.code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("did you mean 'hf'"));
}

TEST(Bench, SaysWhatItMeasured) {
  const auto step = Json::parse(
      succeed(with({"bench", "step", "mae", "--json", "--runs", "3", "--warmup", "1"},
                   {"encoder.arch=vit", "encoder.img_size=32", "encoder.patch_size=8", "encoder.embed_dim=16",
                    "encoder.depth=1", "encoder.num_heads=1", "decoder.embed_dim=16", "decoder.depth=1",
                    "decoder.num_heads=1", "train.batch_size=4"}))
          .out);
  EXPECT_EQ(step["step_s"]["runs"], 3);
  EXPECT_GT(step["items_per_s"].get<double>(), 0);
  EXPECT_GT(step["peak_memory_mib"].get<double>(), 10);
  const auto data =
      Json::parse(succeed(with({"bench", "data", "mae", "--data", kData, "--json", "--runs", "3"},
                               {"encoder.img_size=32", "encoder.patch_size=8", "encoder.arch=vit",
                                "encoder.embed_dim=16", "encoder.depth=1", "encoder.num_heads=1"}))
                      .out);
  EXPECT_EQ(data["batch_s"]["runs"], 3);
  EXPECT_GT(data["items_per_cpu_s"].get<double>(), 0);
  const auto startup = Json::parse(
      succeed(with({"bench", "startup", "mae", "--data", kData, "--json", "--runs", "2", "--warmup", "0"},
                   {"encoder.img_size=32", "encoder.patch_size=8", "encoder.arch=vit", "encoder.embed_dim=16",
                    "encoder.depth=1", "encoder.num_heads=1", "train.batch_size=4", "train.log_every=1",
                    "health.samples=16"}))
          .out);
  EXPECT_EQ(startup["first_step_s"]["runs"], 2);
  EXPECT_GT(startup["first_step_s"]["median"].get<double>(), 0.1);
  EXPECT_LE(startup["first_step_s"]["median"], startup["startup_s"]["median"]);
}

}  // namespace
}  // namespace lacuna::testing
