// Every bad input ends in one line "lacuna: what: why; what to do" and exit code 2 (contracts.md).

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
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
  expect_refused({"pretrain", "mee", "--out", out}, "did you mean 'mae'?");
  expect_refused({"pretrain", "mae", "--out", out, "--set", "mask.ration=0.5"}, "did you mean 'mask.ratio'?");
  expect_refused({"pretrain", "mae", "--out", out, "--set", "ratio=0.5"}, "did you mean 'mask.ratio'?");
  expect_refused({"pretrain", "mae", "--out", out, "--data", "synthetic:scnes"}, "did you mean 'scenes'?");
  expect_refused({"pretrain", "mae", "--out", out, "--data", "imagfolder:/tmp"},
                 "did you mean 'imagefolder'?");
  expect_refused({"list", "method"}, "did you mean 'methods'?");
  expect_refused({"info", "mee"}, "did you mean 'mae'?");
  expect_refused({"eval", "kn", out}, "did you mean 'knn'?");
  EXPECT_FALSE(fs::exists(out));
}

TEST(Usage, BadValuesSayWhatWasExpected) {
  const TemporaryFolder folder;
  const auto out = (folder / "run").string();
  expect_refused({"pretrain", "mae", "--out", out, "--set", "mask.ratio=1.5"}, "[0, 1]");
  expect_refused({"pretrain", "mae", "--out", out, "--set", "train.precision=fp8"},
                 "choices: fp32, bf16, fp16");
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

TEST(Usage, OutputThatCanNotBeWrittenIsAnErrorAndALeavingReaderIsNot) {
  const TemporaryFolder folder;
  const std::string program = LACUNA_PROGRAM, shell = "/bin/bash";
  const auto with = [&](const std::string& command) {
    return Running({"-c", "set -o pipefail; " + program + " " + command}, folder.path(), {}, shell).wait();
  };
  const auto full = with("list --json > /dev/full");
  EXPECT_EQ(full.code, 2);
  EXPECT_THAT(complaint(full), HasSubstr("lacuna: stdout: what was printed could not be written"));
  const auto left = with("list --json | true");
  EXPECT_EQ(left.code, 0) << left.err;
  EXPECT_EQ(left.err, "");
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
  const auto names = [&](const char* kind) {
    std::vector<std::string> out;
    for (const auto& entry : list[kind]) out.push_back(entry["name"]);
    return out;
  };
  EXPECT_THAT(names("methods"), ::testing::IsSupersetOf({"mae", "simmim", "supervised"}));
  EXPECT_THAT(names("encoders"), ::testing::IsSupersetOf({"vit_tiny", "swin_tiny", "beit_base", "resnet50"}));
  EXPECT_GE(list["datasets"].size(), 5U);
  EXPECT_GE(list["recipes"].size(), 2U);
  const auto info = nlohmann::json::parse(run_program({"info", "mae", "--json"}).out);
  for (const auto& key : info["config"])
    if (key["key"] == "train.base_lr") {
      EXPECT_EQ(key["default"], 1.5e-4);
    }
  // What the default encoder fills is shown as filled, not as the bare field starts.
  const auto swin = nlohmann::json::parse(run_program({"info", "simmim", "--json"}).out);
  for (const auto& key : swin["config"]) {
    if (key["key"] == "encoder.patch_size") EXPECT_EQ(key["default"], nlohmann::json({4, 4}));
    if (key["key"] == "encoder.embed_dim") EXPECT_EQ(key["default"], 128);
    if (key["key"] == "decoder.type") EXPECT_EQ(key["default"], "linear");
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

// --- pretrain --dry-run ----------------------------------------------------------------------------------

const std::vector<std::string> kTinyRun = {"pretrain",
                                           "mae",
                                           "--dry-run",
                                           "--data",
                                           "synthetic:scenes?count=64&size=32",
                                           "--set",
                                           "encoder.img_size=32",
                                           "--set",
                                           "encoder.patch_size=8",
                                           "--set",
                                           "encoder.embed_dim=24",
                                           "--set",
                                           "encoder.depth=2",
                                           "--set",
                                           "encoder.num_heads=2",
                                           "--set",
                                           "decoder.embed_dim=16",
                                           "--set",
                                           "decoder.depth=1",
                                           "--set",
                                           "decoder.num_heads=2",
                                           "--set",
                                           "train.batch_size=8",
                                           "--set",
                                           "train.epochs=50"};

Outcome dry_run(const std::vector<std::string>& more) {
  auto arguments = kTinyRun;
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_program(arguments);
}

TEST(DryRun, CountsWhatTheRunWouldBe) {
  const TemporaryFolder folder;
  const auto outcome = dry_run({"--json", "--out", (folder / "run").string()});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_FALSE(fs::exists(folder / "run"));
  const auto run = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(run["steps"], 400);
  EXPECT_EQ(run["steps_per_epoch"], 8);
  EXPECT_EQ(run["config"]["encoder"]["embed_dim"], 24);
  EXPECT_EQ(run["config"]["encoder"]["in_chans"], 3) << "as the data say";
  EXPECT_EQ(run["config"]["data"]["mean"].size(), 3U) << "measured";

  // A block of width D: 2 norms, qkv, proj, two layers of 4 D, all with biases.
  const auto block = [](int64_t d) {
    return 2 * 2 * d + 3 * d * (d + 1) + d * (d + 1) + 4 * d * (d + 1) + d * (4 * d + 1);
  };
  const int64_t encoder = 192 * 24 + 24 + 24 + 17 * 24 + 2 * block(24) + 2 * 24;
  const int64_t rest = 16 + 24 * 16 + 16 + 17 * 16 + block(16) + 2 * 16 + 16 * 192 + 192;
  const auto& parameters = run["parameters"];
  EXPECT_EQ(parameters["encoder"], encoder);
  EXPECT_EQ(parameters["rest"], rest);
  EXPECT_EQ(parameters["trainable"], encoder + rest - 17 * 24 - 17 * 16) << "position tables are fixed";
  const auto& memory = run["memory_bytes"];
  EXPECT_EQ(memory["weights"], 4 * (encoder + rest));
  EXPECT_EQ(memory["gradients"], 4 * parameters["trainable"].get<int64_t>());
  EXPECT_EQ(memory["optimizer"], 8 * parameters["trainable"].get<int64_t>());
  // At least what the first block's layers must keep for 8 pictures of 5 tokens, at most 100 times that.
  const double kept = 8 * 5 * 24 * 4 * 10;
  EXPECT_GT(memory["activations"], kept);
  EXPECT_LT(memory["activations"], 100 * kept);
  EXPECT_GE(run["time"]["measured_steps"], 1);
  EXPECT_GT(run["time"]["seconds_a_step"], 0);
  EXPECT_DOUBLE_EQ(run["time"]["seconds"], 400 * run["time"]["seconds_a_step"].get<double>());
  EXPECT_FALSE(run["rules"].empty());
  EXPECT_FALSE(run["warnings"].empty()) << "a batch of 8 is small";
}

TEST(DryRun, NeedsNoFolderAndNoMeasuring) {
  const auto outcome = dry_run({"--no-measure"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("embed_dim = 24"));
  EXPECT_THAT(outcome.out, HasSubstr("time        not measured: --no-measure"));
  EXPECT_THAT(outcome.out, HasSubstr("warning     effective batch 8 is small"));
  EXPECT_THAT(outcome.out, HasSubstr("nothing was written"));
  const TemporaryFolder folder;
  expect_refused({"pretrain", "mae", "--out", (folder / "run").string(), "--dry-run", "--resume"},
                 "--resume");
  expect_refused({"pretrain", "mae", "--out", (folder / "run").string(), "--no-measure"}, "--dry-run");
  expect_refused({"pretrain", "mae"}, "--out");
  auto wrong = kTinyRun;
  wrong.insert(wrong.end(), {"--set", "train.batch_size=100000"});
  expect_refused(wrong, "smaller train.batch_size");
}

// --- shell completion ------------------------------------------------------------------------------------

/// Runs `script` in a shell; its output.
std::string shell(const std::string& name, const std::string& script) {
  const TemporaryFolder folder;
  std::ofstream(folder / "script") << script;
  const std::string command =
      name + " " + (folder / "script").string() + " > " + (folder / "out").string() + " 2>&1";
  const int code = std::system(command.c_str());
  return slurp(folder / "out") + (code == 0 ? "" : "exit code " + std::to_string(code));
}

bool installed(const std::string& name) {
  return std::system(("command -v " + name + " > /dev/null").c_str()) == 0;
}

/// What bash offers behind "lacuna ...", the last word being under way.
std::string offered(const std::string& words) {
  static const std::string script = run_program({"completion", "bash"}).out;
  const auto last = std::count(words.begin(), words.end(), ' ');
  const TemporaryFolder nowhere;  // file names are offered too: here there are none
  return shell("bash", "cd " + nowhere.path().string() + "\n" + script + "COMP_WORDS=(" + words +
                           ")\nCOMP_CWORD=" + std::to_string(last) +
                           "\n_lacuna\nprintf '%s ' \"${COMPREPLY[@]}\"\n");
}

TEST(Completion, BashOffersCommandsNamesAndFlags) {
  EXPECT_EQ(offered("lacuna pre"), "pretrain preview ");
  EXPECT_EQ(offered("lacuna pretrain ma"), "mae ");
  EXPECT_EQ(offered("lacuna info ma"), "mae ");
  EXPECT_EQ(offered("lacuna eval kn"), "knn ");
  EXPECT_EQ(offered("lacuna list re"), "recipes ");
  EXPECT_EQ(offered("lacuna pretrain --dr"), "--dry-run ");
  EXPECT_THAT(offered("lacuna pretrain /"), HasSubstr("recipes/mae/"));
  EXPECT_EQ(offered("lacuna pretrain --out ma"), " ") << "no method where a folder is wanted";
}

TEST(Completion, EveryShellAcceptsItsScript) {
  for (const std::string name : {"bash", "zsh", "fish"}) {
    const auto outcome = run_program({"completion", name});
    EXPECT_EQ(outcome.code, 0);
    for (const std::string word : {"pretrain", "features", "mae", "knn", "dry-run"})
      EXPECT_THAT(outcome.out, HasSubstr(word)) << name;
    if (installed(name)) {
      EXPECT_EQ(shell(name + " -n", outcome.out), "") << name;
    }
  }
  expect_refused({"completion", "tcsh"}, "zsh");
}

TEST(Completion, FishOffersMethods) {
  if (!installed("fish")) GTEST_SKIP() << "fish is not installed";
  const auto script = run_program({"completion", "fish"}).out;
  EXPECT_THAT(shell("fish", script + "complete -C 'lacuna pretrain ma'\n"), HasSubstr("mae"));
  EXPECT_THAT(shell("fish", script + "complete -C 'lacuna ev'\n"), HasSubstr("eval\tmeasure"));
}

// --- colour ----------------------------------------------------------------------------------------------

TEST(Colour, OnTerminalsThatWantIt) {
  EXPECT_THAT(run_in_terminal({"info", "mee"}), HasSubstr("\033[31mlacuna:\033[0m method 'mee'"));
  EXPECT_THAT(run_in_terminal({"info", "mee"}, {"NO_COLOR=1"}), Not(HasSubstr("\033")));
  EXPECT_THAT(run_in_terminal({"info", "mee"}, {"TERM=dumb"}), Not(HasSubstr("\033")));
  EXPECT_THAT(run_in_terminal({"info", "mee"}, {"NO_COLOR="}), HasSubstr("\033[31m"))
      << "empty counts as unset";
  EXPECT_THAT(run_program({"info", "mee"}).err, Not(HasSubstr("\033")));
}

}  // namespace
}  // namespace lacuna::testing
