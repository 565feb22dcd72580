// A run from end to end: killed at random instants, stopped, starved of disk, resumed, evaluated, reported.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lacuna/core/draws.h"
#include "tests/support/small_run.h"

namespace lacuna::testing {
namespace {

using ::testing::HasSubstr;

nlohmann::json last_loss(const std::vector<nlohmann::json>& lines) {
  nlohmann::json loss;
  for (const auto& line : lines)
    if (line.contains("loss")) loss = line["loss"];
  return loss;
}

class Runs : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder;
    const auto outcome = run_program(pretrain(unbroken()));
    ASSERT_EQ(outcome.code, 0) << outcome.err;
  }
  static void TearDownTestSuite() { delete folder_; }
  static fs::path unbroken() { return *folder_ / "unbroken"; }
  static TemporaryFolder* folder_;
};
TemporaryFolder* Runs::folder_ = nullptr;

TEST_F(Runs, FolderHoldsWhatTheContractSays) {
  const auto lines = losses(unbroken());
  EXPECT_EQ(lines.back()["step"], kSteps);
  for (const char* name :
       {"config.toml", "metrics.jsonl", "checkpoints/step-00000060/model.safetensors",
        "checkpoints/step-00000060/trainer.safetensors", "checkpoints/step-00000060/state.json",
        "previews/step-00000000.png", "previews/step-00000060.png"})
    EXPECT_TRUE(fs::exists(unbroken() / name)) << name;
  int events = 0;
  for (const auto& entry : fs::directory_iterator(unbroken()))
    events += entry.path().filename().string().starts_with("events.out.tfevents.") ? 1 : 0;
  EXPECT_EQ(events, 1);
}

TEST_F(Runs, ConfigRepeatsTheRun) {
  const auto again = *folder_ / "again";
  const auto outcome =
      run_program({"pretrain", (unbroken() / "config.toml").string(), "--out", again.string()});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(losses(again), losses(unbroken()));
}

// kill -9 at 24 random instants, from before the first step to the end, in one run.
TEST_F(Runs, KilledAtRandomInstantsItGivesTheSameLossesBitForBit) {
  const auto run = *folder_ / "killed";
  Stream random(2026, "kill");
  int killed = 0;
  bool finished = false;
  for (int attempt = 0; attempt < 200 && !(finished && killed >= 24); ++attempt) {
    const bool begun = fs::exists(run / "config.toml");
    const Running program(begun ? resume(run) : pretrain(run), folder_->path());
    if (killed < 24) {
      // From start-up (0.3 s and more) to well into training.
      std::this_thread::sleep_for(std::chrono::duration<double>(random.uniform(0.2, 2.0)));
      program.signal(SIGKILL);
    }
    const auto outcome = program.wait();
    if (outcome.code == -SIGKILL)
      ++killed;
    else
      ASSERT_EQ(outcome.code, 0) << outcome.err;
    finished = outcome.code == 0;
    if (finished && killed < 24) fs::remove_all(run);  // it got through: kill another one
  }
  ASSERT_TRUE(finished);
  EXPECT_GE(killed, 20);
  EXPECT_EQ(losses(run), losses(unbroken()));
}

TEST_F(Runs, SignalsWriteACheckpointAndExit130) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const auto run = *folder_ / ("signal" + std::to_string(signal));
    const Running program(
        pretrain(run, {"--set", "train.checkpoint_every=1000", "--set", "health.every=1000"}),
        folder_->path());
    ASSERT_TRUE(wait_until([&] { return losses_written(run) > 8; }, 120));
    program.signal(signal);
    const auto outcome = program.wait();
    EXPECT_EQ(outcome.code, 130) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr("--resume continues"));
    EXPECT_FALSE(fs::is_empty(run / "checkpoints"));
    EXPECT_EQ(run_program(resume(run)).code, 0);
    EXPECT_EQ(last_loss(losses(run)), last_loss(losses(unbroken())));
  }
}

TEST_F(Runs, TruncatedCheckpointsFallBackToTheLastWholeOne) {
  const auto run = *folder_ / "truncated";
  fs::copy(unbroken(), run, fs::copy_options::recursive | fs::copy_options::copy_symlinks);
  fs::resize_file(run / "checkpoints/step-00000060/model.safetensors", 1000);
  const auto outcome = run_program(resume(run));
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("step-00000060"));
  EXPECT_THAT(outcome.err, HasSubstr("resumed at step 55"));
  EXPECT_EQ(losses(run), losses(unbroken()));
}

TEST_F(Runs, TornLastLineOfMetricsIsCut) {
  const auto run = *folder_ / "torn";
  fs::copy(unbroken(), run, fs::copy_options::recursive | fs::copy_options::copy_symlinks);
  fs::remove_all(run / "checkpoints/step-00000060");
  std::ofstream(run / "metrics.jsonl", std::ios::app) << "{\"step\": 61, \"lo";
  EXPECT_EQ(run_program(resume(run)).code, 0);
  EXPECT_EQ(losses(run), losses(unbroken()));
}

TEST_F(Runs, LossThatIsNotFiniteIsNeverApplied) {
  const auto run = *folder_ / "nan";
  const auto outcome = run_program(pretrain(
      run, {"--set", "train.lr=1e30", "--set", "train.warmup_epochs=0", "--set", "health.max_skipped=3"}));
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("3 steps in a row"));
  EXPECT_THAT(outcome.err, HasSubstr("lower train.lr"));
  EXPECT_TRUE(fs::exists(run / "skipped"));
  EXPECT_GE(std::distance(fs::directory_iterator(run / "skipped"), fs::directory_iterator()), 3);
}

TEST_F(Runs, ASecondRunInOneFolderIsRefused) {
  const auto again = run_program(pretrain(unbroken()));
  EXPECT_EQ(again.code, 2);
  EXPECT_THAT(again.err, HasSubstr("--resume"));

  const auto run = *folder_ / "locked";
  const Running first(pretrain(run, {"--set", "train.steps=100000"}), folder_->path());
  ASSERT_TRUE(wait_until([&] { return losses_written(run) > 2; }, 120));
  const auto second = run_program(resume(run));
  EXPECT_EQ(second.code, 2);
  EXPECT_THAT(second.err, HasSubstr("in use by process"));
  first.signal(SIGKILL);
  first.wait();
}

TEST_F(Runs, EvaluatesPreviewsAndReports) {
  const auto knn = run_program({"eval", "knn", unbroken().string(), "--json", "--set", "eval.max_train=200",
                                "--set", "eval.max_test=100"});
  ASSERT_EQ(knn.code, 0) << knn.err;
  const auto result = nlohmann::json::parse(knn.out);
  EXPECT_EQ(result["protocol"], "knn");
  EXPECT_GE(result["metrics"]["top1"].get<double>(), 0.0);
  EXPECT_EQ(nlohmann::json::parse(slurp(unbroken() / "evals/knn.json")), result);

  const auto features = *folder_ / "features.safetensors";
  ASSERT_EQ(run_program({"features", unbroken().string(), "--out", features.string()}).code, 0);
  EXPECT_GT(fs::file_size(features), 240U * 32 * 4);

  const auto picture = *folder_ / "preview.png";
  ASSERT_EQ(run_program({"preview", unbroken().string(), "--out", picture.string()}).code, 0);
  EXPECT_EQ(slurp(picture).substr(1, 3), "PNG");

  ASSERT_EQ(run_program({"report", unbroken().string()}).code, 0);
  EXPECT_THAT(slurp(unbroken() / "report.html"), HasSubstr("<svg"));
}

TEST_F(Runs, ZeroStepsWriteTheUntrainedNetwork) {
  const auto run = *folder_ / "untrained";
  ASSERT_EQ(run_program(pretrain(run, {"--set", "train.steps=0"})).code, 0);
  EXPECT_TRUE(fs::exists(run / "checkpoints/step-00000000/model.safetensors"));
}

}  // namespace
}  // namespace lacuna::testing
