// Every recipe that comes with Lacuna: its keys are known, its network can be built, and the papers' networks
// take a step.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

#include "lacuna/data/loader.h"
#include "lacuna/train/dry_run.h"
#include "lacuna/train/trainer.h"
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
std::string drawn_data(const std::string& method) { return train::RunConfig(method).data.uri; }

/// Keys of recipes that speak of other data than those drawn (all 17 joints are kept), or of networks that
/// would take minutes (two ViT-L that look at films: two blocks of theirs, short and small films).
std::vector<std::string> settings_of_drawn(const std::string& method) {
  if (method == "geomae") return {"points.fields_kept=[]"};  // drawn points have no intensity, no time
  if (method == "humanmac") return {"motion.keep=[]"};
  if (method == "meap")  // bytes, short texts, two narrow layers (the paper fine-tunes Llama-3-8B)
    return {"text.tokenizer=bytes", "text.rows=blocks",      "encoder.context=64",   "encoder.vocab_size=320",
            "mask.token_id=258",    "encoder.depth=2",       "encoder.embed_dim=64", "encoder.mlp_dim=128",
            "encoder.num_heads=4",  "encoder.num_kv_heads=2"};
  if (method == "salt")
    return {"encoder.num_frames=4", "encoder.img_size=112", "encoder.depth=2", "teacher.depth=2"};
  return {};
}

bool prepares(const std::string& method) { return method == "speech-targets" || method == "salt"; }

/// A paper's main recipe; its variants differ in size and schedule.
bool is_paper(const Recipe& recipe) { return fs::path(recipe.path).filename() == "paper.toml"; }

/// What a method makes before it trains (labels, a teacher), cut down.
std::vector<std::string> short_preparation(const Recipe& recipe) {
  if (recipe.method == "salt") return {"train.steps=2", "teacher.steps=1"};
  return {"target.inits=1",     "target.first_steps=1", "target.first_clusters=20",
          "target.clusters=20", "target.share=1",       "audio.min_samples=1000"};
}

/// The config of a recipe on drawn data, as the program would settle it.
std::unique_ptr<train::RunConfig> config_of(const Recipe& recipe) {
  auto config = train::RunConfig::from_toml(read_toml(recipe.path), recipe.path);
  config->table.set("data.uri", drawn_data(recipe.method) + "?count=16", "test");
  for (const char* setting : {"train.batch_size=2", "train.accum=1", "train.steps=1", "train.workers=0",
                              "train.warmup_epochs=0", "train.device=cpu"})
    config->table.set_assignment(setting, "test");
  for (const auto& setting : settings_of_drawn(recipe.method)) config->table.set_assignment(setting, "test");
  return config;
}

TEST(Recipes, EachIsUnderstood) {
  for (const auto& recipe : recipes()) {
    if (prepares(recipe.method)) continue;  // no network without its labels: the papers' are made below
    SCOPED_TRACE(recipe.path);
    const auto config = config_of(recipe);
    train::settle_data(*config);
    EXPECT_GT(train::count_parameters(*config->make_method()).total, 0);
  }
}

TEST(Recipes, ThePapersNetworksTakeAStep) {
  int taken = 0;
  for (const auto& recipe : recipes()) {
    if (!is_paper(recipe) || prepares(recipe.method)) continue;
    SCOPED_TRACE(recipe.path);
    const auto config = config_of(recipe);
    const auto dataset = train::settle_data(*config);
    const auto method = config->make_method();
    method->train();
    data::Loader loader(dataset, train::make_transform(*config, *method), {.batch_size = 2, .workers = 0});
    const auto batch = loader.next();
    SeededDraws draws(0, 0, batch.sample);
    const auto loss = method->forward(batch, draws);
    EXPECT_TRUE(std::isfinite(loss.total.item<double>()));
    loss.total.backward();
    double squares = 0;
    for (const auto& parameter : method->parameters())
      if (parameter.grad().defined()) squares += parameter.grad().square().sum().item<double>();
    EXPECT_TRUE(std::isfinite(squares) && squares > 0) << squares;
    ++taken;
  }
  EXPECT_GE(taken, 9);
}

// What is made first (labels, a teacher) is made by the program.
TEST(Recipes, ThePapersNetworksThatAreMadeReadyTakeAStep) {
  for (const auto& recipe : recipes()) {
    if (!is_paper(recipe) || !prepares(recipe.method)) continue;
    const TemporaryFolder folder;
    std::vector<std::string> command = {"pretrain", recipe.path,
                                        "--data",   drawn_data(recipe.method) + "?count=16",
                                        "--out",    (folder / "run").string()};
    for (const char* setting : {"train.batch_size=2", "train.accum=1", "train.steps=1",
                                "train.warmup_epochs=0", "health.samples=4"})
      command.insert(command.end(), {"--set", setting});
    for (const auto& settings : {short_preparation(recipe), settings_of_drawn(recipe.method)})
      for (const auto& setting : settings) command.insert(command.end(), {"--set", setting});
    const auto outcome = run_program(command);
    ASSERT_EQ(outcome.code, 0) << recipe.path << ": " << outcome.err;
    std::istringstream lines(slurp(folder / "run/metrics.jsonl"));
    double loss = NAN;
    for (std::string line; std::getline(lines, line);)
      if (const auto entry = json::parse(line); entry.contains("loss")) loss = entry["loss"];
    EXPECT_TRUE(std::isfinite(loss)) << recipe.path;
  }
}

}  // namespace
}  // namespace lacuna::testing
