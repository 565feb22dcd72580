// Moving averages of weights in whole runs: train.ema_decay, and HPM's teacher.

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lacuna/io/safetensors.h"
#include "tests/support/small_run.h"

namespace lacuna::testing {
namespace {

using ::testing::HasSubstr;

std::vector<std::string> settings(const std::vector<std::string>& keys) {
  std::vector<std::string> out;
  for (const auto& key : keys) out.insert(out.end(), {"--set", key});
  return out;
}

fs::path file_of(const fs::path& run, int step, const std::string& name) {
  char folder[32];
  std::snprintf(folder, sizeof folder, "step-%08d", step);
  return run / "checkpoints" / folder / name;
}

void train(const fs::path& run, const std::string& method, const std::vector<std::string>& keys) {
  auto arguments = pretrain(run, settings(keys));
  arguments[1] = method;
  const auto outcome = run_program(arguments);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
}

/// A copy of `run` that ended after `step`, continued, must end as `run` did, to the bit.
void expect_exact_resume(const fs::path& run, int step, int last) {
  const fs::path copy = run.string() + "-resumed";
  fs::copy(run, copy, fs::copy_options::recursive | fs::copy_options::copy_symlinks);
  for (const auto& entry : fs::directory_iterator(run / "checkpoints"))
    if (const auto name = entry.path().filename().string();
        name.starts_with("step-") && std::stoi(name.substr(5)) > step)
      fs::remove_all(copy / "checkpoints" / name);
  const auto outcome = run_program(resume(copy));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(losses(copy), losses(run));
  for (const char* name : {"model.safetensors", "ema.safetensors"})
    EXPECT_EQ(slurp(file_of(copy, last, name)), slurp(file_of(run, last, name))) << name;
}

TEST(Ema, IsTheAverageOfTheStepsWeightsAndResumesExactly) {
  const TemporaryFolder folder;
  const std::vector<std::string> keys{"train.steps=6", "train.checkpoint_every=1", "train.keep=100",
                                      "train.ema_decay=0.75"};
  train(folder / "run", "mae", keys);
  train(folder / "start", "mae", {"train.steps=0"});
  auto wanted = io::load_safetensors(file_of(folder / "start", 0, "model.safetensors"));
  for (int step = 1; step <= 6; ++step) {
    const auto now = io::load_safetensors(file_of(folder / "run", step, "model.safetensors"));
    const auto got = io::load_safetensors(file_of(folder / "run", step, "ema.safetensors"));
    ASSERT_EQ(got.size(), now.size());
    for (auto& [name, average] : wanted) {
      average = 0.75 * average + 0.25 * now.at(name);
      EXPECT_TRUE(at::allclose(got.at(name), average, 1e-6, 1e-7)) << step << " " << name;
    }
  }
  expect_exact_resume(folder / "run", 3, 6);
}

TEST(Ema, HpmsTeacherResumesExactly) {
  const TemporaryFolder folder;
  train(folder / "run", "hpm",
        {"train.steps=20", "train.keep=100", "teacher.decay=0.9", "teacher.final_decay=0.99",
         "teacher.ramp_epochs=2", "mask.hard_start=0.3"});
  expect_exact_resume(folder / "run", 10, 20);
}

TEST(Ema, IsChosenWhereWeightsAreLoaded) {
  const TemporaryFolder folder;
  const auto run = folder / "run", plain = folder / "plain";
  train(run, "mae", {"train.steps=20", "train.ema_decay=0.9"});
  train(plain, "mae", {"train.steps=2"});
  const auto features = [&](const fs::path& weights, const std::string& name,
                            const std::vector<std::string>& keys) {
    std::vector<std::string> arguments{"features", weights.string(), "--data",
                                       kData,      "--out",          (folder / name).string()};
    const auto more = settings(keys);
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto outcome = run_program(arguments);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return io::load_safetensors(folder / name).at("features");
  };
  const auto raw = features(run, "raw", {}), averaged = features(run, "averaged", {"eval.weights=ema"}),
             file = features(file_of(run, 20, "ema.safetensors"), "file", {});
  EXPECT_FALSE(raw.equal(averaged));
  EXPECT_TRUE(file.equal(averaged));
  const auto knn = run_program({"eval", "knn", run.string(), "--data", kData, "--set", "eval.weights=ema"});
  EXPECT_EQ(knn.code, 0) << knn.err;
  EXPECT_TRUE(fs::exists(run / "evals/knn-ema.json"));
  const auto none =
      run_program({"eval", "knn", plain.string(), "--data", kData, "--set", "eval.weights=ema"});
  EXPECT_EQ(none.code, 2);
  EXPECT_THAT(none.err, HasSubstr("keeps no moving average"));
}

TEST(Ema, FineTuningReportsBoth) {
  const TemporaryFolder folder;
  train(folder / "run", "mae", {"train.steps=4"});
  const auto outcome = run_program({"eval", "finetune", (folder / "run").string(), "--data", kData, "--json",
                                    "--set", "train.steps=6", "--set", "train.batch_size=16", "--set",
                                    "train.ema_decay=0.9", "--set", "health.samples=16"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto metrics = nlohmann::json::parse(outcome.out).at("metrics");
  for (const char* name : {"top1", "top1_ema", "loss", "loss_ema"})
    EXPECT_TRUE(metrics.contains(name)) << name;
  EXPECT_NE(metrics.at("loss"), metrics.at("loss_ema"));
}

TEST(Ema, AMethodWithATeacherKeepsOnlyThat) {
  const TemporaryFolder folder;
  auto arguments = pretrain(folder / "run", settings({"train.ema_decay=0.9"}));
  arguments[1] = "hpm";
  const auto outcome = run_program(arguments);
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("averages its weights by itself"));
  EXPECT_FALSE(fs::exists(folder / "run"));
}

}  // namespace
}  // namespace lacuna::testing
