// Every recipe that comes with Lacuna: its keys are known, its network can be built, and the papers' networks
// take a step.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <regex>

#include "tests/support/program.h"

namespace lacuna::testing {
namespace {

using nlohmann::json;

json output_of(const std::vector<std::string>& arguments) {
  const auto outcome = run_program(arguments);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  return json::parse(outcome.out, nullptr, /*allow_exceptions=*/false);
}

struct Recipe {
  std::string path, method;
};

std::vector<Recipe> recipes() {
  std::vector<Recipe> out;
  const auto listed = output_of({"list", "recipes", "--json"});
  for (const auto& recipe : listed["recipes"]) {
    const auto path = recipe["name"].get<std::string>();
    const auto text = slurp(path);
    std::smatch found;
    EXPECT_TRUE(std::regex_search(text, found, std::regex("method = \"([^\"]+)\""))) << path;
    out.push_back({path, found[1]});
  }
  return out;
}

/// What a method trains on when nothing is said: drawn by the program, so it is always there.
std::string drawn_data(const std::string& method) {
  const auto info = output_of({"info", method, "--json"});
  for (const auto& key : info["config"])
    if (key["key"] == "data.uri") return key["default"].get<std::string>();
  return "";
}

/// Keys of recipes that speak of other data than those drawn (all 17 joints are kept), or of networks that
/// would take minutes (two ViT-L that look at films: two blocks of theirs, short and small films).
std::vector<std::string> settings_of_drawn(const std::string& method) {
  if (method == "geomae")
    return {"--set", "points.fields_kept=[]"};  // drawn points have no intensity, no time
  if (method == "humanmac") return {"--set", "motion.keep=[]"};
  if (method == "meap")  // bytes, short texts, two narrow layers (the paper fine-tunes Llama-3-8B)
    return {"--set", "text.tokenizer=bytes",   "--set", "text.rows=blocks",    "--set", "encoder.context=64",
            "--set", "encoder.vocab_size=320", "--set", "mask.token_id=258",   "--set", "encoder.depth=2",
            "--set", "encoder.embed_dim=64",   "--set", "encoder.mlp_dim=128", "--set", "encoder.num_heads=4",
            "--set", "encoder.num_kv_heads=2"};
  if (method == "salt")
    return {"--set", "encoder.num_frames=4", "--set", "encoder.img_size=112",
            "--set", "encoder.depth=2",      "--set", "teacher.depth=2"};
  return {};
}

/// What a method makes before it trains (labels, a teacher) is cut down; it can't be rehearsed without.
std::vector<std::string> short_preparation(const Recipe& recipe, const std::string& path) {
  if (recipe.method == "salt") return {"--set", "train.steps=2", "--set", "teacher.steps=1"};
  if (recipe.method != "speech-targets") return {};
  // Large's labels come from a run of Base: here from MFCC, without a first iteration of Large.
  const std::string source =
      path.find("large") != std::string::npos ? "target.source=mfcc" : "target.inits=1";
  return {"--set", source,
          "--set", "target.first_steps=1",
          "--set", "target.first_clusters=20",
          "--set", "target.clusters=20",
          "--set", "target.share=1",
          "--set", "target.inits=1",
          "--set", "audio.min_samples=1000"};
}

TEST(Recipes, EachIsUnderstood) {
  for (const auto& recipe : recipes()) {
    if (recipe.method == "speech-targets") continue;  // can't be rehearsed without its labels
    const auto& path = recipe.path;
    std::vector<std::string> command = {
        "pretrain",     path,     "--data", drawn_data(recipe.method), "--dry-run",
        "--no-measure", "--json", "--set",  "train.batch_size=1"};
    const auto settings = settings_of_drawn(recipe.method);
    command.insert(command.end(), settings.begin(), settings.end());
    const auto run = output_of(command);
    EXPECT_GT(run["parameters"]["total"].get<int64_t>(), 0) << path;
  }
}

TEST(Recipes, ThePapersNetworksTakeAStep) {
  int taken = 0;
  for (const auto& recipe : recipes()) {
    const auto& path = recipe.path;
    if (fs::path(path).filename() != "paper.toml") continue;  // its variants differ in size and schedule
    const TemporaryFolder folder;
    std::vector<std::string> command = {"pretrain", path,
                                        "--data",   drawn_data(recipe.method) + "?count=16",
                                        "--out",    (folder / "run").string()};
    for (const char* setting : {"train.batch_size=2", "train.accum=1", "train.steps=1",
                                "train.warmup_epochs=0", "health.samples=4"})
      command.insert(command.end(), {"--set", setting});
    for (const auto& more : {short_preparation(recipe, path), settings_of_drawn(recipe.method)})
      command.insert(command.end(), more.begin(), more.end());
    const auto outcome = run_program(command);
    ASSERT_EQ(outcome.code, 0) << path << ": " << outcome.err;
    std::istringstream lines(slurp(folder / "run/metrics.jsonl"));
    double loss = NAN;
    for (std::string line; std::getline(lines, line);)
      if (const auto entry = json::parse(line); entry.contains("loss")) loss = entry["loss"];
    EXPECT_TRUE(std::isfinite(loss)) << path;
    ++taken;
  }
  EXPECT_GE(taken, 6);
}

}  // namespace
}  // namespace lacuna::testing
