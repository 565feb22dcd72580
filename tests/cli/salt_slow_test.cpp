// SALT's two stages in one run: stopped in the middle of either, they end as if nothing had happened.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/small_run.h"

namespace lacuna::testing {
namespace {

using ::testing::HasSubstr;

std::vector<std::string> command(const fs::path& run, const std::vector<std::string>& more = {}) {
  std::vector<std::string> out = {"pretrain",   "salt",   "--out",
                                  run.string(), "--data", "synthetic:moving?count=40&size=16&frames=4"};
  std::vector<std::string> settings = {
      "encoder.arch=vit",         "encoder.img_size=16",   "encoder.patch_size=8", "encoder.num_frames=4",
      "encoder.embed_dim=24",     "encoder.depth=1",       "encoder.num_heads=2",  "predictor.embed_dim=24",
      "predictor.depth=1",        "predictor.num_heads=2", "mask.num_blocks=[1]",  "mask.spatial_min=[0.25]",
      "mask.spatial_max=[0.25]",  "teacher.arch=vit",      "teacher.embed_dim=16", "teacher.depth=1",
      "teacher.num_heads=2",      "video.step=1",          "train.batch_size=8",   "train.steps=12",
      "teacher.steps=6",          "train.lr=1e-3",         "train.clip_grad=1",    "train.log_every=1",
      "train.checkpoint_every=2", "train.keep=20",         "health.samples=8",     "train.workers=0"};
  settings.insert(settings.end(), more.begin(), more.end());
  for (const auto& setting : settings) out.insert(out.end(), {"--set", setting});
  return out;
}

void run_whole(const std::vector<std::string>& arguments) {
  const auto outcome = run_program(arguments);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
}

void remove_checkpoints_after(const fs::path& run, int step) {
  for (const auto& entry : fs::directory_iterator(run / "checkpoints")) {
    const auto name = entry.path().filename().string();
    if (name == "best" || std::stoi(name.substr(5)) > step) fs::remove_all(entry.path());
  }
}

std::string last_weights(const fs::path& run) {
  return slurp(run / "checkpoints/step-00000006/model.safetensors");
}

TEST(Salt, BothStagesResumeExactly) {
  const TemporaryFolder folder;
  const auto whole = folder / "whole";
  run_whole(command(whole));
  ASSERT_TRUE(fs::exists(whole / "stage-1/checkpoints/step-00000006"));
  ASSERT_TRUE(fs::exists(whole / "teacher.safetensors"));
  ASSERT_TRUE(fs::exists(whole / "previews/step-00000006.apng"));
  const auto options = fs::copy_options::recursive | fs::copy_options::copy_symlinks;

  const auto second = folder / "stopped-in-2";
  fs::copy(whole, second, options);
  remove_checkpoints_after(second, 2);
  run_whole(resume(second));
  EXPECT_EQ(losses(second), losses(whole));
  EXPECT_EQ(last_weights(second), last_weights(whole));

  const auto first = folder / "stopped-in-1";
  fs::copy(whole, first, options);
  for (const char* name : {"checkpoints", "previews", "config.toml", "metrics.jsonl", "teacher.safetensors"})
    fs::remove_all(first / name);
  remove_checkpoints_after(first / "stage-1", 4);
  run_whole(resume(first));
  EXPECT_EQ(losses(first / "stage-1"), losses(whole / "stage-1"));
  EXPECT_EQ(losses(first), losses(whole));
}

TEST(Salt, AnyEncoderTeachesAndOthersAreRefused) {
  const TemporaryFolder folder;
  const auto teacher = folder / "teacher";
  run_whole(command(teacher, {"stage=1", "encoder.embed_dim=32", "train.steps=2"}));
  run_whole(command(folder / "student", {"teacher.init=" + teacher.string(), "train.steps=2"}));
  EXPECT_THAT(slurp(folder / "student/config.toml"), HasSubstr("embed_dim = 32"));
  EXPECT_FALSE(fs::exists(folder / "student/stage-1"));
  // Its cubes must be the student's.
  const auto outcome = run_program(command(
      folder / "other", {"teacher.init=" + teacher.string(), "encoder.tubelet_size=4", "train.steps=2"}));
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("tubelet_size is 2, the student's 4"));
  EXPECT_FALSE(fs::exists(folder / "other"));
}

TEST(Salt, MovingTeacherAndEvaluations) {
  const TemporaryFolder folder;
  const auto run = folder / "run";
  run_whole(command(run, {"teacher.type=ema", "train.steps=8"}));
  EXPECT_TRUE(fs::exists(run / "checkpoints/step-00000008/ema.safetensors"));
  const auto eval = [&](const std::string& protocol, const std::vector<std::string>& settings) {
    std::vector<std::string> arguments = {"eval", protocol, run.string(), "--json"};
    for (const auto& setting : settings) arguments.insert(arguments.end(), {"--set", setting});
    const auto outcome = run_program(arguments);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return nlohmann::json::parse(outcome.out, nullptr, false);
  };
  const auto probe =
      eval("attentive", {"eval.attentive.num_heads=2", "eval.attentive.depth=2", "eval.attentive.epochs=1",
                         "eval.attentive.lr=[1e-3, 1e-2]", "video.eval_clips=2", "video.eval_crops=3",
                         "eval.max_test=16", "eval.attentive.batch_size=8"});
  EXPECT_EQ(probe["settings"]["views"], 6);
  EXPECT_EQ(probe["settings"]["heads"].size(), 2U);
  EXPECT_TRUE(probe["metrics"]["top1"].is_number());
  const auto told = eval("correlation", {"eval.epochs=2", "eval.max_train=40", "eval.max_test=16"});
  EXPECT_GE(told["metrics"]["checkpoints"].get<int>(), 4);
  EXPECT_LE(told["metrics"]["r2"].get<double>(), 1);
  EXPECT_EQ(eval("knn", {"eval.weights=ema", "eval.max_test=16"})["protocol"], "knn");
}

}  // namespace
}  // namespace lacuna::testing
