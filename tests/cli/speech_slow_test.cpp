// speech-targets from end to end: the chain of iterations and the target factory killed at random instants,
// the protocols that look at frames, recognition.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lacuna/core/draws.h"
#include "tests/support/small_run.h"

namespace lacuna::testing {
namespace {

using nlohmann::json;
using Arguments = std::vector<std::string>;

constexpr const char* kSpeech = "synthetic:speech?count=80";

Arguments with(Arguments arguments, const Arguments& settings) {
  for (const auto& setting : settings) arguments.insert(arguments.end(), {"--set", setting});
  return arguments;
}

/// Two iterations of a network of a few thousand weights.
Arguments chain(const fs::path& run) {
  return with({"pretrain", "speech-targets", "--out", run.string(), "--data", kSpeech},
              {"encoder.arch=hubert",
               "encoder.conv_layers=[(16,10,5)] + [(16,8,8)] * 2",
               "encoder.embed_dim=16",
               "encoder.depth=2",
               "encoder.num_heads=2",
               "encoder.conv_pos=8",
               "encoder.conv_pos_groups=2",
               "predictor.final_dim=8",
               "mask.length=4",
               "target.source=layers",
               "target.layers=[1, 2]",
               "target.clusters=12",
               "target.codebooks=2",
               "target.share=1",
               "target.inits=2",
               "target.pool_frames=1000",
               "target.first_steps=12",
               "target.first_clusters=12",
               "audio.crop=fixed",
               "audio.max_samples=8000",
               "audio.min_samples=1000",
               "train.steps=12",
               "train.batch_size=8",
               "train.log_every=1",
               "train.checkpoint_every=4",
               "train.workers=1",
               "health.samples=16",
               "health.every=1000",
               "health.preview_images=2"});
}

Arguments factory(const std::string& job, const fs::path& folder) {
  Arguments arguments = {"targets", job, "--data", "synthetic:speech?count=400", "--folder", folder.string()};
  return with(arguments, {"target.source=mfcc", "target.clusters=40", "target.codebooks=2", "target.share=1",
                          "target.inits=3", "target.pool_frames=2000"});
}

/// Starts it again and again, killing it at random instants, until it ends. The number of kills.
int run_killed(const std::function<Arguments()>& command, const fs::path& folder, double longest) {
  Stream random(2026, "kill");
  int killed = 0;
  for (int attempt = 0; attempt < 60; ++attempt) {
    const Running program(command(), folder, {{"OMP_NUM_THREADS", "1"}});
    if (killed < 8) {
      std::this_thread::sleep_for(std::chrono::duration<double>(random.uniform(0.2, longest)));
      program.signal(SIGKILL);
    }
    const auto outcome = program.wait();
    if (outcome.code == 0) return killed;
    EXPECT_EQ(outcome.code, -SIGKILL) << outcome.err;
    ++killed;
  }
  ADD_FAILURE() << "it never ended";
  return killed;
}

class Speech : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder;
    setenv("OMP_NUM_THREADS", "1", 1);
    const auto outcome = run_program(chain(run()));
    ASSERT_EQ(outcome.code, 0) << outcome.err;
  }
  static void TearDownTestSuite() { delete folder_; }
  static fs::path run() { return *folder_ / "run"; }
  static json eval(const std::string& protocol, const Arguments& settings, Arguments more = {}) {
    Arguments arguments = {"eval", protocol, run().string(), "--json", "--data", kSpeech};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto outcome = run_program(with(arguments, settings));
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return json::parse(outcome.out, nullptr, /*allow_exceptions=*/false);
  }
  static TemporaryFolder* folder_;
};
TemporaryFolder* Speech::folder_ = nullptr;

TEST_F(Speech, ChainLeavesBothIterationsAndTheirLabels) {
  for (const char* name :
       {"iteration-1/targets/codebooks.safetensors", "iteration-1/targets/labels-0.km", "targets/labels-0.km",
        "targets/labels-3.km", "checkpoints/step-00000012/model.safetensors"})
    EXPECT_TRUE(fs::exists(run() / name)) << name;
}

TEST_F(Speech, ChainKilledAtRandomInstantsGivesTheSameLossesBitForBit) {
  const auto killed = *folder_ / "killed";
  const int kills = run_killed(
      [&] {
        const bool begun = fs::exists(killed / "config.toml") || fs::exists(killed / "preparation.toml");
        return begun ? resume(killed) : chain(killed);
      },
      folder_->path(), 2.0);
  EXPECT_GE(kills, 3);
  EXPECT_EQ(losses(killed / "iteration-1"), losses(run() / "iteration-1"));
  EXPECT_EQ(losses(killed), losses(run()));
  EXPECT_EQ(slurp(killed / "targets/labels-3.km"), slurp(run() / "targets/labels-3.km"));
}

TEST_F(Speech, FactoryKilledAtRandomInstantsGivesTheSameCodebooksAndLabels) {
  const auto whole = *folder_ / "whole", killed = *folder_ / "torn";
  ASSERT_EQ(run_program(factory("fit", whole)).code, 0);
  ASSERT_EQ(run_program(factory("assign", whole)).code, 0);
  const int fits = run_killed([&] { return factory("fit", killed); }, folder_->path(), 1.5);
  run_killed([&] { return factory("assign", killed); }, folder_->path(), 0.8);
  EXPECT_GE(fits, 3);
  EXPECT_EQ(slurp(killed / "codebooks.safetensors"), slurp(whole / "codebooks.safetensors"));
  for (const char* name : {"labels-0.km", "labels-1.km"})
    EXPECT_EQ(slurp(killed / name), slurp(whole / name)) << name;
  // All threads or one: the same labels.
  auto arguments = factory("assign", whole);
  arguments.insert(arguments.end(), {"--out", (whole / "again").string(), "--workers", "1"});
  ASSERT_EQ(run_program(arguments).code, 0);
  EXPECT_EQ(slurp(whole / "again-1.km"), slurp(whole / "labels-1.km"));
}

TEST_F(Speech, ProtocolsOfFramesGiveTheirFigures) {
  const auto words = eval("weighted-layers", {"probe.epochs=20"});
  EXPECT_EQ(words["protocol"], "weighted-layers");
  double shares = 0;
  for (const char* layer : {"weight_0", "weight_1", "weight_2"})
    shares += words["metrics"][layer].get<double>();
  EXPECT_NEAR(shares, 1, 1e-5);
  EXPECT_GT(words["metrics"]["top1"].get<double>(), words["metrics"]["chance"].get<double>());
  const auto detail = eval("frame-regression", {});
  EXPECT_GT(detail["metrics"]["r2"].get<double>(), 0.1);
  EXPECT_EQ(eval("frame-regression", {})["metrics"], detail["metrics"]) << "nothing in it is random";
  const auto quality = eval("label-quality", {"probe.clusters=20", "probe.layers=[1]"});
  EXPECT_GT(quality["metrics"]["pnmi"].get<double>(), 0);
  EXPECT_LE(quality["metrics"]["class_purity"].get<double>(), 1);
  EXPECT_TRUE(fs::exists(run() / "evals/label-quality.json"));
}

TEST_F(Speech, RecognitionIsTrainedScoredAndResumed) {
  const Arguments settings = {"train.steps=20",
                              "train.lr=3e-3",
                              "train.batch_size=8",
                              "head.freeze_share=0",
                              "encoder.feature_grad_mult=1",
                              "mask.prob=0.2",
                              "mask.length=3",
                              "channel_mask.length=2",
                              "health.samples=16",
                              "train.checkpoint_every=5"};
  const auto result = eval("ctc", settings);
  const auto& metrics = result["metrics"];
  EXPECT_GT(metrics["reference_tokens"].get<int>(), 40);
  EXPECT_NEAR(metrics["ter"].get<double>(),
              (metrics["substitutions"].get<double>() + metrics["deletions"].get<double>() +
               metrics["insertions"].get<double>()) /
                  metrics["reference_tokens"].get<double>(),
              1e-9);
  // Cut off at step 10 it goes on, to the same figures.
  const auto place = run() / "evals/ctc";
  fs::remove_all(place / "checkpoints/step-00000020");
  const auto resumed = eval("ctc", settings);
  EXPECT_EQ(resumed["metrics"], metrics);
  EXPECT_EQ(resumed["settings"]["run"], result["settings"]["run"]);
  // Its weights are a model like any other.
  const auto exported = *folder_ / "hf";
  ASSERT_EQ(run_program({"export", place.string(), "--format", "hf", "--out", exported.string()}).code, 0);
  EXPECT_EQ(json::parse(slurp(exported / "config.json"))["architectures"][0], "HubertForCTC");
  EXPECT_TRUE(fs::exists(exported / "vocab.json"));
}

TEST_F(Speech, FrozenWeightedRecognitionLearnsTheHeadAlone) {
  const auto place = *folder_ / "superb";
  eval("ctc", {"train.steps=4", "head.weighted=true", "train.lr=1e-2", "health.samples=16"},
       {"--out", place.string()});
  const auto outcome = run_program({"inspect", place.string(), "--json"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
}

TEST_F(Speech, MistakesAreNamedInOneLine) {
  const auto refused = [&](const Arguments& arguments, const std::string& text) {
    const auto outcome = run_program(arguments);
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    EXPECT_THAT(outcome.err, ::testing::HasSubstr(text));
  };
  const auto here = run().string();
  refused({"eval", "weighted-layers", here, "--data", kSpeech, "--set", "probe.layers=[9]"}, "layers 0 to 2");
  refused({"eval", "ctc", here, "--data", kSpeech, "--set", "head.tokens=[\"a\"]", "--out",
           (*folder_ / "bad").string()},
          "is no token here");
  refused({"eval", "ctc", here, "--data", "synthetic:speech?count=80&label=speaker", "--out",
           (*folder_ / "bad2").string()},
          "has no transcripts");
  EXPECT_FALSE(fs::exists(*folder_ / "bad"));
}

}  // namespace
}  // namespace lacuna::testing
