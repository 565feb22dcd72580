// Few-shot tuning of a CLIP: masks beside a linear probe and full fine-tuning, over shots and seeds (Zheng et
// al., ICCV 2023, section 4).

#include <algorithm>
#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/subset.h"
#include "lacuna/eval/clip_model.h"
#include "lacuna/eval/masks.h"
#include "lacuna/train/preparation.h"
#include "lacuna/train/trainer.h"

namespace lacuna::eval {

namespace {

/// One training.
struct Cell {
  std::string tune;
  int64_t shots, seed;
  std::string name() const { return str(tune, "-", shots, "-shots-seed", seed); }
};

std::unique_ptr<train::RunConfig> config_of(const Request& request, const Cell& cell) {
  auto config = std::make_unique<train::RunConfig>("r-amt");
  auto& table = config->table;
  const auto& few = request.config.fewshot;
  const std::string origin = "fewshot";
  table.set("data.uri", request.data_uri, "--data");
  table.set("base.weights", request.model.origin, origin);
  table.set("data.shots", cell.shots, origin);
  table.set("data.classes", few.train, origin);
  table.set("head.classes", few.train, origin);
  table.set("head.class_names", request.train->classes(), origin);
  table.set("train.seed", cell.seed, origin);
  table.set("tune", cell.tune.ends_with("amt") ? "masks" : cell.tune, origin);
  for (const auto& setting : request.settings) table.set_assignment(setting, "--set");
  const auto [from, to] = data::class_range(few.train, std::ssize(request.train->classes()));
  const auto batch = table.get("train.batch_size").get<int64_t>();
  table.set("train.batch_size", std::min(batch, cell.shots * (to - from)), origin);  // never less than one
  if (cell.tune == "amt") table.set("loss.gdr_lambda", 0.0, origin);
  if (cell.tune == "head") table.set("train.lr", few.head_lr, origin);
  if (cell.tune == "tower") table.set("train.lr", few.tower_lr, origin);
  return config;
}

/// Trains the cell unless it is finished; its accuracy.
Json score(const Request& request, const Cell& cell) {
  const auto folder = request.folder / cell.name();
  train::train_before(
      folder, cell.name(), [&] { return config_of(request, cell); }, nullptr);
  const auto tuned = load_model(folder.string());
  return mask_metrics(tuned, request.test, request.config, /*compare=*/false);
}

struct Values {
  std::vector<double> all;
  double mean() const {
    double sum = 0;
    for (const double value : all) sum += value;
    return sum / static_cast<double>(all.size());
  }
  double deviation() const {
    if (all.size() < 2) return 0;
    double sum = 0;
    for (const double value : all) sum += (value - mean()) * (value - mean());
    return std::sqrt(sum / static_cast<double>(all.size() - 1));
  }
};

/// The masks do nothing before they are tuned: zero-shot, with the templates of base.templates.
Json frozen(const Request& request) {
  auto config = config_of(request, {"r-amt", 1, 0});
  config->table.set("train.steps", 0, "fewshot");
  const auto folder = request.folder / "frozen";
  train::train_before(
      folder, "the frozen CLIP", [&] { return std::move(config); }, nullptr);
  return mask_metrics(load_model(folder.string()), request.test, request.config, /*compare=*/false);
}

Result run(const Request& request) {
  clip_of(request.model, "fewshot");
  if (request.folder.empty())
    fail("eval fewshot", str("no place to train in: ", request.model.origin, " belongs to no run"),
         "give a folder: --out FOLDER");
  const auto& few = request.config.fewshot;
  Result result;
  const auto start = frozen(request);
  for (const char* part : {"top1", "base_top1", "new_top1", "harmonic_top1"})
    if (start.contains(part)) result.metrics[str("frozen_", part)] = start.at(part);
  result.metrics["chance"] = start.at("chance");
  std::map<std::string, Json> series;
  const auto most = *std::max_element(few.shots.begin(), few.shots.end());
  for (const auto& tune : few.tune)
    for (const int64_t shots : few.shots) {
      std::map<std::string, Values> found;
      for (const int64_t seed : few.seeds) {
        const auto metrics = score(request, {tune, shots, seed});
        for (const auto& [name, value] : metrics.items())
          if (name.ends_with("top1") || name == "sparsity") found[name].all.push_back(value.get<double>());
      }
      for (const auto& [name, values] : found) {
        if (few.train == "all" && name != "top1" && name != "sparsity") continue;
        result.metrics[str(tune, "_", name, "_", shots)] = values.mean();
        if (name == "top1") result.metrics[str(tune, "_deviation_", shots)] = values.deviation();
      }
      series[tune].push_back({shots, found["top1"].mean()});
      if (tune == "r-amt" && shots == most) result.metrics["top1"] = found["top1"].mean();
    }
  for (const int64_t shots : few.shots) series["frozen"].push_back({shots, start.at("top1")});
  Json chart = {{"title", "accuracy by shots"},
                {"note", str("mean of ", few.seeds.size(), " seeds; frozen: zero-shot")},
                {"x", "shots"},
                {"shares", true},
                {"series", series}};
  result.curves.push_back(std::move(chart));
  result.settings = {{"shots", few.shots},
                     {"seeds", few.seeds},
                     {"tune", few.tune},
                     {"train", few.train},
                     {"head_lr", few.head_lr},
                     {"tower_lr", few.tower_lr},
                     {"runs", request.folder.string()}};
  return result;
}

const Register<Protocol> registered{
    "fewshot",
    {.summary =
         "CLIP: masks, a linear probe and full fine-tuning on few pictures a class (fewshot.*, and all "
         "keys of r-amt)",
     .run = run,
     .trains = true}};

}  // namespace
}  // namespace lacuna::eval
