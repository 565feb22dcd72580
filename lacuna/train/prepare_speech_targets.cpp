// What speech-targets needs before its training: a first iteration where labels come from layers, codebooks,
// label files. RUN/iteration-1 is a run of its own, RUN/targets holds codebooks.safetensors and
// labels-SET.km.

#include <chrono>
#include <thread>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/method/speech_targets.h"
#include "lacuna/train/checkpoint.h"
#include "lacuna/train/infer.h"
#include "lacuna/train/preparation.h"
#include "lacuna/train/signals.h"
#include "lacuna/train/targets.h"
#include "lacuna/train/trainer.h"

namespace lacuna::train {
namespace {

namespace fs = io::fs;

const SpeechTargetsConfig& keys_of(const RunConfig& config) {
  return dynamic_cast<const SpeechTargetsConfig&>(*config.method_config);
}

/// The same run, of the first iteration's labels.
std::unique_ptr<RunConfig> first_iteration(const RunConfig& config) {
  const auto& target = keys_of(config).target;
  auto first = RunConfig::from_toml(parse_toml(chosen_toml(config), "the run's config"), "the run's config");
  auto& table = first->table;
  const std::vector<std::pair<const char*, Json>> changes = {{"target.source", target.first_source},
                                                             {"target.clusters", target.first_clusters},
                                                             {"target.codebooks", 1},
                                                             {"target.num_classes", Json::array()},
                                                             {"train.steps", target.first_steps},
                                                             {"train.init", ""}};
  for (const auto& [key, value] : changes) table.set(key, value, "the first iteration");
  return first;
}

std::shared_ptr<Method> teacher(const std::string& path, const RunConfig& config) {
  const auto weights = open_weights(path);
  const auto source = config_of(weights);
  source->resolve();
  if (source->info().modality != "audio")
    fail(path, str("are weights of ", source->method, ", which hears nothing"),
         "give weights of speech-targets (target.model)");
  auto method = source->make_method();
  load_into(*method, weights, *source);
  method->to(choose_device(config.train.device));
  return method;
}

/// Codebooks and labels, by one process.
void make_labels(const RunConfig& config, const fs::path& folder) {
  const auto& keys = keys_of(config);
  const auto& target = keys.target;
  const auto model = target.source == "layers" ? teacher(target.model, config) : nullptr;
  const FrameSource source(target, config.audio, model, config.train.workers);
  const auto dataset = data::open_dataset(config.data.uri, "train");
  if (dataset->modality() != "audio")
    fail(config.data.uri, str("holds ", dataset->modality(), ", not sound"),
         "give sound, e.g. --data synthetic:speech");
  log::info(str("labels from ", target.source, ": ", target.clusters, " clusters, in ", folder.string()));
  const auto seed = static_cast<uint64_t>(config.train.seed);
  fit_targets(source, dataset, target, config.audio, seed, config.train.workers, folder);
  assign_targets(source, dataset, config.audio, config.train.workers, folder, (folder / "labels").string());
  io::write_atomically(folder / "done", "");
}

/// Waits for the first process, however long it takes.
void wait_for(const fs::path& done) {
  while (!fs::exists(done)) {
    if (SignalGuard::requested()) throw Interrupted("stopped while the first process makes labels");
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
}

void prepare_speech_targets(RunConfig& config, const fs::path& run, Processes* processes) {
  if (!config.audio.labels.empty() || config.train.steps == 0) return;
  const SignalGuard signals;
  config.method_config->resolve(config.table);
  auto& table = config.table;
  if (keys_of(config).target.source == "layers" && keys_of(config).target.model.empty()) {
    const auto first = run / "iteration-1";
    train_before(
        first, str("first iteration: labels from ", keys_of(config).target.first_source),
        [&] { return first_iteration(config); }, processes);
    table.set("target.model", fs::absolute(first).lexically_normal().string(), "the first iteration");
  }
  const auto folder = fs::absolute(run / "targets").lexically_normal();
  if (!fs::exists(folder / "done")) {
    if (!processes || processes->first())
      make_labels(config, folder);
    else
      wait_for(folder / "done");
  }
  if (processes) processes->barrier();
  const auto& keys = keys_of(config);
  std::vector<std::string> files;
  for (int64_t j = 0; j < keys.target.sets(); ++j)
    files.push_back((folder / str("labels-", j, ".km")).string());
  table.set("audio.labels", files, "the target factory");
  table.set("audio.label_rate", keys.target.label_rate(config.audio.sample_rate, keys.encoder.stride()),
            "the target factory");
  table.set("target.num_classes", std::vector<int64_t>(files.size(), keys.target.clusters),
            "the target factory");
}

const Register<Preparation> registered{"speech-targets", {prepare_speech_targets}};

}  // namespace
}  // namespace lacuna::train
