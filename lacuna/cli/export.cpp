// lacuna export RUN --format timm|hf|official --out DIR

#include "lacuna/train/export.h"
#include "lacuna/cli/command.h"
#include "lacuna/core/log.h"
#include "lacuna/train/names.h"

namespace lacuna::cli {
namespace {

struct Options {
  std::string run, format, out;
  std::vector<std::string> settings;
  bool best = false;
  Output output;
};

void export_run(const Options& options) {
  if (options.output.json) log::reserve_stdout();
  const auto formats = train::name_formats();
  if (std::find(formats.begin(), formats.end(), options.format) == formats.end())
    fail(str("--format ", options.format), "unknown", suggest(options.format, formats));
  const auto weights = train::open_weights(options.run, {.best = options.best});
  const auto config = train::config_of(weights, options.settings);
  config->resolve();
  train::export_weights(weights, *config, options.format, options.out);
  options.output.print({{"out", options.out}, {"format", options.format}, {"weights", weights.origin}},
                       str(options.out, ": model.safetensors and encoder.safetensors under ", options.format,
                           " names, from ", weights.origin));
}

const Register<Command> registered{
    "export",
    {"weights under the names that other libraries load", [](CLI::App& app) {
       auto options = std::make_shared<Options>();
       app.add_option("run", options->run, "a run, a checkpoint or a safetensors file")->required();
       app.add_option("--format", options->format, "timm, hf (transformers) or official (the paper's code)")
           ->required();
       app.add_option("--out", options->out, "the folder to write")->required();
       app.add_option("--set", options->settings, "encoder.key=value for weights that carry no config");
       app.add_flag("--best", options->best, "a run's best checkpoint by probe instead of its last");
       options->output.add_to(app);
       return [options] { export_run(*options); };
     }}};

}  // namespace
}  // namespace lacuna::cli
