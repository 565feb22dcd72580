#include <algorithm>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/data/subset.h"
#include "lacuna/eval/protocol.h"
#include "lacuna/train/trainer.h"

namespace lacuna::eval {

namespace {

constexpr double kTestShare = 0.2;
// Of EvalConfig; all other keys are the network's.
constexpr const char* kOwnKeys[] = {"eval.", "explain.", "probe.", "generate.", "lm.", "prompt.", "fewshot."};

/// What is learnt from, what is scored, and how to say which.
struct Sides {
  std::shared_ptr<data::Dataset> train, test;
  std::string test_name;
};

void require_labels(const data::Dataset& dataset, const std::string& role) {
  if (!dataset.labelled())
    fail(str(role, " ", dataset.uri()), "has no labels, so there is nothing to score",
         "use a set with class folders or labelled records");
}

Sides open_sides(const std::string& data_uri, const std::string& test_uri, uint64_t seed, bool labels) {
  Sides sides;
  sides.train = data::open_dataset(data_uri, "train");
  if (labels) require_labels(*sides.train, "--data");
  sides.test = test_uri.empty() ? data::open_test_split(data_uri) : data::open_dataset(test_uri, "test");
  const bool same = sides.test && sides.test->uri() == sides.train->uri();
  if (same && !test_uri.empty())
    fail(str("--test ", test_uri), "is what the protocol learns from",
         "give another set, or leave --test out and a fifth of --data is held out");
  if (!sides.test || same) {
    std::tie(sides.train, sides.test) = data::hold_out(sides.train, kTestShare, seed);
    sides.test_name = str("a fifth of ", sides.train->uri(), ", held out by seed ", seed);
  } else {
    sides.test_name = sides.test->uri();
  }
  if (!labels) return sides;
  require_labels(*sides.test, "--test");
  if (sides.train->classes() != sides.test->classes())
    fail(str("--test ", sides.test->uri()),
         str("its classes (", join(sides.test->classes()), ") are not those of --data (",
             join(sides.train->classes()), ")"),
         "use a test set with the same class names");
  return sides;
}

/// Settings that say how weights without a config are to be read, not how a protocol trains.
std::vector<std::string> weights_settings(const std::vector<std::string>& settings) {
  std::vector<std::string> out;
  for (const auto& setting : settings) {
    const bool read = setting.starts_with("encoder.num_heads=") || setting.starts_with("data.mean=") ||
                      setting.starts_with("data.std=");
    if (read) out.push_back(setting);
  }
  return out;
}

}  // namespace

void EvalConfig::fields(Fields& f) {
  f("batch_size", batch_size, "pictures at once while features are computed").range(1);
  f("workers", workers, "threads that decode").range(0, 1024);
  f("seed", seed, "of held-out parts, subsets, first weights and shuffles").range(0);
  f("weights", weights, "a run's weights, or their moving average (train.ema_decay; a method's teacher)")
      .choices({"model", "ema"});
  f("pool", pool, "features: the method's own, the class token, or the mean of the patch tokens")
      .choices({"default", "token", "avg"});
  f("max_train", max_train, "use at most so many records to learn from, evenly over the classes; 0: all")
      .range(0);
  f("max_test", max_test, "score at most so many records, evenly over the classes; 0: all").range(0);
  f("k", k, "knn: numbers of neighbours").range(1);
  f("temperature", temperature, "knn: votes weigh exp(cosine / temperature)").range(1e-4);
  f("epochs", epochs, "linear: passes over the training features").range(1);
  f("linear_batch_size", linear_batch_size, "linear: features in a batch").range(2);
  f("optimizer", optimizer, "linear: MAE's LARS, or SGD with the same momentum (HPM; rates near 0.1 then)")
      .choices({"lars", "sgd"});
  f("base_lr", base_lr, "linear: rates tried, for a batch of 256; a held-out tenth of --data picks one")
      .range(0);
  f("warmup_epochs", warmup_epochs, "linear: epochs of linear warm-up").range(0);
  f("weight_decay", weight_decay, "linear: weight decay").range(0);
  f("from_scratch", from_scratch, "finetune: begin with fresh weights, the baseline");
  f.group("attentive", attentive);
}

EvalConfig take_eval_config(std::vector<std::string>& settings) {
  EvalConfig config;
  ConfigTable table;
  table.add("eval", config);
  table.add("explain", config.explain);
  table.add("probe", config.probe);
  table.add("generate", config.generate);
  table.add("lm", config.lm);
  table.add("prompt", config.prompt);
  table.add("fewshot", config.fewshot);
  const auto rest = std::stable_partition(settings.begin(), settings.end(), [](const std::string& setting) {
    return std::none_of(std::begin(kOwnKeys), std::end(kOwnKeys),
                        [&](const char* group) { return setting.starts_with(group); });
  });
  for (auto own = rest; own != settings.end(); ++own) table.set_assignment(*own, "--set");
  settings.erase(rest, settings.end());
  return config;
}

std::unique_ptr<train::Processes> join_processes(const std::vector<std::string>& settings) {
  train::TrainConfig config;
  ConfigTable table;
  table.add("train", config);
  for (const auto& setting : settings)
    if (setting.starts_with("train.")) table.set_assignment(setting, "--set");
  return train::join_processes(train::choose_device(config.device), config.timeout_s);
}

std::string result_name(const std::string& protocol, const EvalConfig& config) {
  return config.weights == "ema" ? protocol + "-ema" : protocol;
}

Json Result::to_json() const {
  Json out = {{"protocol", protocol}, {"weights", weights}, {"data", data},
              {"test", test},         {"metrics", metrics}, {"settings", settings}};
  if (!curves.empty()) out["curves"] = curves;
  return out;
}

Result evaluate(const std::string& protocol, const std::string& run_or_weights, const std::string& data_uri,
                const std::string& test_uri, const std::vector<std::string>& settings, bool best,
                train::Processes* processes, const io::fs::path& out) {
  const auto& entry = Registry<Protocol>::instance().get(protocol);
  if (processes && !entry.several_processes)
    fail(str("eval ", protocol), str("runs in one process, not in ", processes->world()),
         "start it without torchrun, or as one task");
  auto other_settings = settings;
  const auto config = take_eval_config(other_settings);
  const auto seed = static_cast<uint64_t>(config.seed);
  auto model = load_model(run_or_weights, entry.trains ? weights_settings(other_settings) : other_settings,
                          {.best = best, .ema = config.weights == "ema"});
  model.processes = processes;
  const auto uri = data_uri.empty() ? model.config->data.uri : data_uri;
  const auto sides = open_sides(uri, test_uri, seed, entry.labels);
  const bool is_run = io::fs::is_directory(io::fs::path(run_or_weights) / "checkpoints");
  const auto folder = io::fs::path(run_or_weights) / "evals";
  if (!out.empty() && !entry.trains)
    fail("--out", str("protocol '", protocol, "' trains no network to keep"), "leave it out");

  auto result = entry.run({.model = model,
                           .train = data::balanced_subset(sides.train, config.max_train, seed),
                           .test = data::balanced_subset(sides.test, config.max_test, seed),
                           .config = config,
                           .data_uri = uri,
                           .settings = other_settings,
                           .folder = out.empty() && is_run ? folder / result_name(protocol, config) : out});
  result.protocol = protocol;
  result.weights = model.origin;
  result.data = sides.train->uri();
  result.test = sides.test_name;
  result.settings["pool"] = config.pool;
  result.settings["seed"] = config.seed;
  const bool writes = !processes || processes->first();
  if (writes && is_run) {
    io::make_folder(folder);
    io::write_atomically(folder / (result_name(protocol, config) + ".json"), result.to_json().dump(2) + "\n");
  }
  return result;
}

}  // namespace lacuna::eval
