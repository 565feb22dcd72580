// Every bad input ends in one line "lacuna: what: why; what to do" and exit code 2 (contracts.md).

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/support/program.h"
#include "tests/support/shared.h"

namespace lacuna::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

// The last line of stderr is the complaint; warnings and progress may stand before it.
std::string complaint(const Outcome& outcome) {
  auto text = outcome.err;
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

void expect_refused(const std::vector<std::string>& arguments, const std::string& part) {
  const auto outcome = run_program(arguments);
  EXPECT_EQ(outcome.code, 2) << outcome.err;
  EXPECT_THAT(complaint(outcome), MatchesRegex("lacuna: .+: .+; .+"));
  EXPECT_THAT(complaint(outcome), HasSubstr(part));
  EXPECT_EQ(outcome.out, "");
}

TEST(Usage, UnknownNamesAreMatchedToTheNearest) {
  const TemporaryFolder folder;
  const auto out = (folder / "run").string();
  expect_refused({"pretain"}, "did you mean 'pretrain'?");
  expect_refused({"pretrain", "mea", "--out", out}, "did you mean 'mae'?");
  expect_refused({"pretrain", "mae", "--out", out, "--set", "mask.ration=0.5"}, "did you mean 'mask.ratio'?");
  expect_refused({"pretrain", "mae", "--out", out, "--set", "ratio=0.5"}, "did you mean 'mask.ratio'?");
  expect_refused({"pretrain", "mae", "--out", out, "--data", "synthetic:scnes"}, "did you mean 'scenes'?");
  expect_refused({"pretrain", "mae", "--out", out, "--data", "imagfolder:/tmp"},
                 "did you mean 'imagefolder'?");
  expect_refused({"list", "method"}, "did you mean 'methods'?");
  expect_refused({"info", "mea"}, "did you mean 'mae'?");
  expect_refused({"eval", "kn", out}, "did you mean 'knn'?");
  EXPECT_FALSE(fs::exists(out));
}

TEST(Usage, BadValuesSayWhatWasExpected) {
  const TemporaryFolder folder;
  const auto out = (folder / "run").string();
  expect_refused({"pretrain", "mae", "--out", out, "--set", "mask.ratio=1.5"}, "[0, 1]");
  expect_refused({"pretrain", "mae", "--out", out, "--set", "train.precision=fp8"}, "choices: fp32, bf16");
  expect_refused({"pretrain", "mae", "--out", out, "--set", "encoder.depth=many"}, "a whole number");
  expect_refused({"pretrain", "mae", "--out", out, "--set", "encoder.img_size=998"}, "992 or 1008");
  expect_refused({"pretrain", "mae", "--out", out, "--set", "mask.ratio=0.999"}, "none visible");
  expect_refused({"pretrain", "mae", "--out", out, "--set", "train.batch_size=100000"},
                 "smaller train.batch_size");
  expect_refused({"pretrain", "mae", "--out", out, "--set", "nothing"}, "key=value");
  expect_refused({"pretrain", "--out", out}, "no method or recipe");
  EXPECT_FALSE(fs::exists(out)) << "nothing half-written is left behind";
}

TEST(Usage, MissingAndBrokenFilesAreNamed) {
  const TemporaryFolder folder;
  const auto out = (folder / "run").string(), nowhere = (folder / "nowhere").string();
  expect_refused({"inspect", nowhere}, "nowhere");
  expect_refused({"inspect", "imagefolder:" + nowhere}, "nowhere");
  expect_refused({"pretrain", "mae", "--out", out, "--data", nowhere}, "nowhere");
  expect_refused({"pretrain", nowhere + ".toml", "--out", out}, "nowhere.toml");
  expect_refused({"eval", "knn", nowhere}, "nowhere");
  expect_refused({"report", nowhere}, "nowhere");
  expect_refused({"verify", nowhere}, "nowhere");
  expect_refused({"pretrain", "mae", "--out", out, "--resume"}, "no run to resume");
  std::ofstream(folder / "bad.toml") << "method = \"mae\"\n[train\n";
  expect_refused({"pretrain", (folder / "bad.toml").string(), "--out", out}, "line 2");
  std::ofstream(folder / "half.safetensors") << "torn";
  expect_refused({"inspect", (folder / "half.safetensors").string()}, "half.safetensors");
  std::ofstream(folder / "weights.pth") << "PK";
  expect_refused({"eval", "knn", (folder / "weights.pth").string()}, "safetensors");
  fs::create_directory(folder / "empty");
  expect_refused({"inspect", (folder / "empty").string()}, "empty");
}

TEST(Usage, ForeignWeightsAreRefusedWithTheLikelyFix) {
  LACUNA_NEEDS_SHARED("goldens/mae/pretrain");
  const auto weights = (shared_folder() / "goldens/mae/pretrain/weights.safetensors").string();
  const TemporaryFolder folder;
  expect_refused({"pretrain", "mae", "--out", (folder / "run").string(), "--init", weights}, "misshapen");
  expect_refused({"eval", "knn", weights, "--data", "synthetic:scenes"}, "encoder.num_heads");
}

TEST(Usage, JsonIsAloneOnStdout) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"list", "--json"},
        {"info", "mae", "--json"},
        {"inspect", "synthetic:scenes?count=20&size=32", "--json"}}) {
    const auto outcome = run_program(arguments);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_TRUE(nlohmann::json::accept(outcome.out)) << outcome.out;
  }
}

TEST(Usage, ListAndInfoAreTrue) {
  const auto list = nlohmann::json::parse(run_program({"list", "--json"}).out);
  EXPECT_EQ(list["methods"][0]["name"], "mae");
  EXPECT_GE(list["datasets"].size(), 5U);
  EXPECT_GE(list["recipes"].size(), 2U);
  const auto info = nlohmann::json::parse(run_program({"info", "mae", "--json"}).out);
  for (const auto& key : info["config"])
    if (key["key"] == "train.base_lr") {
      EXPECT_EQ(key["default"], 1.5e-4);
    }
}

TEST(Usage, VerifyPassesAndFails) {
  LACUNA_NEEDS_SHARED("goldens/mae/pretrain");
  const auto good = (shared_folder() / "goldens/mae/pretrain").string();
  const auto outcome = run_program({"verify", good});
  EXPECT_EQ(outcome.code, 0) << outcome.out << outcome.err;
  EXPECT_THAT(outcome.out, MatchesRegex("PASS mae/pretrain  worst=.+ err=.+ \\(17 outputs\\)\n"));

  const TemporaryFolder folder;
  fs::copy(good, folder / "tight", fs::copy_options::recursive);
  fs::permissions(folder / "tight/case.toml", fs::perms::owner_write, fs::perm_options::add);
  std::ofstream(folder / "tight/case.toml", std::ios::app) << "[config.unknown]\nkey = 1\n";
  const auto refused = run_program({"verify", (folder / "tight").string(), good});
  EXPECT_EQ(refused.code, 1);
  EXPECT_THAT(refused.out, HasSubstr("FAIL tight  worst=case"));
  EXPECT_THAT(refused.out, HasSubstr("unknown.key"));
  EXPECT_THAT(refused.out, HasSubstr("PASS mae/pretrain")) << "the others are still checked";
}

}  // namespace
}  // namespace lacuna::testing
