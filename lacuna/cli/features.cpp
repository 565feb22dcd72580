// lacuna features RUN|WEIGHTS --data URI --out FILE.safetensors

#include "lacuna/cli/command.h"
#include "lacuna/core/log.h"
#include "lacuna/eval/protocol.h"
#include "lacuna/io/safetensors.h"

namespace lacuna::cli {
namespace {

struct Options {
  std::string weights, data, out;
  std::vector<std::string> settings;
  bool best = false;
  Output output;
};

void write_features(const Options& options, train::Processes* processes) {
  auto settings = options.settings;
  const auto config = eval::take_eval_config(settings);
  auto model =
      eval::load_model(options.weights, settings, {.best = options.best, .ema = config.weights == "ema"});
  model.processes = processes;
  const auto dataset = data::open_dataset(options.data.empty() ? model.config->data.uri : options.data);
  const auto found = eval::extract_features(model, dataset, config);
  if (processes && !processes->first()) return;
  io::Tensors tensors{{"features", found.features}};
  if (dataset->labelled()) tensors["labels"] = found.labels;
  io::save_safetensors(options.out, tensors, {{"weights", model.origin}, {"data", dataset->uri()}});
  const auto rows = found.features.size(0), width = found.features.size(1);
  options.output.print(
      {{"out", options.out}, {"count", rows}, {"dim", width}, {"labelled", dataset->labelled()}},
      str(options.out, ": features [", rows, ", ", width, "]", dataset->labelled() ? " and labels" : ""));
}

const Register<Command> registered{
    "features",
    {"write embeddings of a data set", [](CLI::App& app) {
       auto options = std::make_shared<Options>();
       app.add_option("weights", options->weights, "a run, a checkpoint or a safetensors file")->required();
       app.add_option("--data", options->data, "data URI or path; the run's own by default");
       app.add_option("--out", options->out, "the safetensors file to write")->required();
       app.add_option("--set", options->settings, "eval.key=value");
       app.add_flag("--best", options->best, "a run's best checkpoint by probe instead of its last");
       options->output.add_to(app);
       return [options] {
         if (options->output.json) log::reserve_stdout();
         const auto processes = eval::join_processes(options->settings);
         train::run_together(processes.get(), [&] { write_features(*options, processes.get()); });
       };
     }}};

}  // namespace
}  // namespace lacuna::cli
