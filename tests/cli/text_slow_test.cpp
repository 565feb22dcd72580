// Texts from the command line: training, resume, several processes, evaluation, generation, weights.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/small_run.h"

namespace lacuna::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

std::vector<std::string> train(const fs::path& run, std::vector<std::string> more = {}) {
  std::vector<std::string> arguments = {"pretrain",   "meap",   "--out",
                                        run.string(), "--data", "synthetic:facts?count=400&chars=120"};
  for (const char* setting :
       {"encoder.embed_dim=32", "encoder.depth=2", "encoder.num_heads=4", "encoder.num_kv_heads=2",
        "encoder.mlp_dim=48", "encoder.context=64", "train.batch_size=8", "train.lr=3e-3",
        "train.log_every=1", "train.checkpoint_every=4", "health.samples=16", "health.every=6",
        "train.steps=12"})
    arguments.insert(arguments.end(), {"--set", setting});
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

TEST(TextRun, ResumesExactlyAndIsEvaluated) {
  const TemporaryFolder folder;
  const auto run = folder / "run", broken = folder / "broken";
  ASSERT_EQ(run_program(train(run)).code, 0);
  ASSERT_EQ(run_program(train(broken, {"--set", "train.steps=12"})).code, 0);
  fs::remove_all(broken / "checkpoints" / "step-00000012");  // as if it had been killed behind step 8
  const auto again = run_program(resume(broken));
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(losses(run), losses(broken));
  EXPECT_LT(losses(run).back()["health.skill_mean"], 1.0);

  const auto scored =
      run_program({"eval", "perplexity", run.string(), "--json", "--set", "eval.max_test=20"});
  ASSERT_EQ(scored.code, 0) << scored.err;
  EXPECT_LT(json::parse(scored.out)["metrics"]["perplexity"].get<double>(), 200);
  const auto needle =
      run_program({"eval", "needle", run.string(), "--json", "--set", "lm.lengths=[60]", "--set",
                   "lm.trials=2", "--set", "lm.answer_digits=1", "--set", "eval.max_test=50"});
  EXPECT_EQ(needle.code, 2);  // a fact and its question are longer than 60 bytes
  EXPECT_THAT(needle.err, HasSubstr("has no room for a needle"));

  const auto made = run_program({"generate", run.string(), "--out", (folder / "made").string(), "--json",
                                 "--set", "generate.prompt=The code", "--set", "generate.tokens=8"});
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_EQ(json::parse(made.out)["items"][0]["prompt"], "The code");

  // Fine-tuning on dialogues begins with these weights.
  std::ofstream(folder / "talk.jsonl") << R"({"prompt": "What is it?", "completion": "It is a lamp."})"
                                       << "\n"
                                       << R"({"prompt": "Who?", "completion": "The clerk."})"
                                       << "\n";
  const auto tuned = run_program(train(
      folder / "tuned", {"--data", (folder / "talk.jsonl").string(), "--set", "train.init=" + run.string(),
                         "--set", "train.batch_size=2", "--set", "train.steps=2"}));
  ASSERT_EQ(tuned.code, 0) << tuned.err;
  EXPECT_TRUE(losses(folder / "tuned").back().contains("loss.answers") ||
              losses(folder / "tuned")[1].contains("loss.answers"));
}

TEST(TextRun, FilesOfTokensAreTrainedOn) {
  const TemporaryFolder folder;
  std::ofstream(folder / "a.txt") << std::string(3000, 'x') + "\nsome words of a text\n";
  const auto tokens = (folder / "a.tokens").string(), vocabulary = (folder / "v.json").string();
  ASSERT_EQ(run_program({"tokenizer", "train", "--data", (folder / "a.txt").string(), "--vocab-size", "300",
                         "--min-frequency", "1", "--out", vocabulary})
                .code,
            0);
  const auto written = run_program({"data", "tokenize", "--data", (folder / "a.txt").string(), "--tokenizer",
                                    vocabulary, "--out", tokens, "--json"});
  ASSERT_EQ(written.code, 0) << written.err;
  EXPECT_EQ(json::parse(written.out)["text_bytes"], 3022);
  const auto outcome = run_program(
      train(folder / "run", {"--data", tokens, "--set", "train.batch_size=1", "--set", "train.steps=1"}));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(slurp(folder / "run/config.toml"), HasSubstr(vocabulary));
  EXPECT_THAT(slurp(folder / "run/config.toml"), HasSubstr("vocab_size = 320"));
  EXPECT_EQ(run_program({"data", "tokenize", "--data", (folder / "a.txt").string(), "--out", tokens}).code,
            2);
}

}  // namespace
}  // namespace lacuna::testing
