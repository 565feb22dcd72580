// lacuna targets fit|assign|quality: frame labels from sound or from a model's layers.

#include <fstream>

#include "lacuna/cli/command.h"
#include "lacuna/core/log.h"
#include "lacuna/eval/protocol.h"
#include "lacuna/train/signals.h"
#include "lacuna/train/targets.h"
#include "lacuna/train/trainer.h"

namespace lacuna::cli {
namespace {

struct Options {
  std::string job, data, folder, out;
  std::vector<std::string> settings, labels;
  int64_t seed = 0, workers = 2;
  Output output;
};

/// Keys target.* and audio.*.
struct Settings {
  target::TargetConfig target;
  data::AudioConfig audio;
  ConfigTable table;

  explicit Settings(const Options& options) {
    table.add("target", target);
    table.add("audio", audio);
    for (const auto& setting : options.settings) table.set_assignment(setting, "--set");
    target.resolve(table);
  }
};

train::FrameSource make_source(Settings& settings, const Options& options) {
  std::shared_ptr<Method> model;
  if (settings.target.source == "layers") {
    if (settings.target.model.empty())
      fail("targets", "source layers, but no model is named", "give --set target.model=RUN");
    const auto loaded = eval::load_model(settings.target.model);
    model = loaded.method;
    // The model hears what it was trained to hear.
    settings.audio.sample_rate = loaded.config->audio.sample_rate;
    settings.audio.normalize = loaded.config->audio.normalize;
  }
  return {settings.target, settings.audio, model, options.workers};
}

std::shared_ptr<data::Dataset> open_sound(const std::string& uri) {
  auto dataset = data::open_dataset(uri, "train");
  if (dataset->modality() != "audio")
    fail(uri, str("holds ", dataset->modality(), ", not sound"), "give sound, e.g. synthetic:speech");
  return dataset;
}

/// The labels of all records against their classes, frame by frame.
Json quality(const std::string& file, const data::Dataset& dataset) {
  std::ifstream in(file);
  if (!in) fail(file, "can't be read", "check the path");
  std::vector<int64_t> clusters, classes;
  std::string line;
  int64_t record = 0;
  for (; std::getline(in, line); ++record) {
    if (record >= dataset.size()) break;
    std::istringstream words(line);
    for (int64_t value = 0; words >> value;) {
      if (dataset.label(record) < 0) continue;
      clusters.push_back(value), classes.push_back(dataset.label(record));
    }
  }
  if (record != dataset.size())
    fail(file, str("labels ", record, " records or more, ", dataset.uri(), " holds ", dataset.size()),
         "give the labels of these data");
  if (clusters.empty()) fail(dataset.uri(), "has no classes to compare with", "give labelled data");
  const auto found = train::label_quality(torch::tensor(clusters), torch::tensor(classes));
  return {{"file", file},
          {"class_purity", found.class_purity},
          {"cluster_purity", found.cluster_purity},
          {"pnmi", found.pnmi},
          {"frames", found.frames},
          {"clusters_used", found.clusters_used}};
}

void targets(const Options& options) {
  if (options.output.json) log::reserve_stdout();
  const auto dataset = open_sound(options.data);
  if (options.job == "quality") {
    Json all = Json::array();
    std::string text;
    for (const auto& file : options.labels) {
      all.push_back(quality(file, *dataset));
      const auto& one = all.back();
      text += str(text.empty() ? "" : "\n", file, ": class purity ", one["class_purity"], ", cluster purity ",
                  one["cluster_purity"], ", PNMI ", one["pnmi"], " over ", one["frames"], " frames");
    }
    options.output.print(all, text);
    return;
  }
  const train::SignalGuard signals;
  Settings settings(options);
  const auto source = make_source(settings, options);
  const io::fs::path folder = options.folder;
  if (options.job == "fit") {
    train::fit_targets(source, dataset, settings.target, settings.audio, static_cast<uint64_t>(options.seed),
                       options.workers, folder);
    options.output.print({{"folder", options.folder}}, str("codebooks in ", options.folder));
    return;
  }
  const auto files =
      train::assign_targets(source, dataset, settings.audio, options.workers, folder, options.out);
  options.output.print({{"labels", files}, {"label_rate", source.rate()}},
                       str("wrote ", join(files), ": audio.label_rate=", source.rate()));
}

const Register<Command> registered{
    "targets",
    {"frame labels of sound: fit clusters, assign labels, measure them", [](CLI::App& app) {
       auto options = std::make_shared<Options>();
       app.add_option("job", options->job, "fit, assign or quality")
           ->required()
           ->check(CLI::IsMember({"fit", "assign", "quality"}));
       app.add_option("--data", options->data, "sound")->required();
       app.add_option("--folder", options->folder, "of the codebooks");
       app.add_option("--out", options->out, "assign: beginning of the label files' names (FOLDER/labels)");
       app.add_option("--labels", options->labels, "quality: label files");
       app.add_option("--set", options->settings, "target.source=layers, target.clusters=500, audio.*, ...")
           ->take_all();
       app.add_option("--seed", options->seed, "of clusters and of the share of the data");
       app.add_option("--workers", options->workers, "threads")->check(CLI::Range(1, 1024));
       options->output.add_to(app);
       return [options] {
         if (options->job != "quality" && options->folder.empty())
           fail("targets", "--folder is not given", "name the codebooks' folder");
         if (options->job == "quality" && options->labels.empty())
           fail("targets quality", "--labels is not given", "name label files");
         if (options->out.empty()) options->out = options->folder + "/labels";
         targets(*options);
       };
     }}};

}  // namespace
}  // namespace lacuna::cli
