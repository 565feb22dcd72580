// lacuna pretrain METHOD|RECIPE.toml --data URI --out RUN

#include <fstream>
#include <iostream>

#include "lacuna/cli/command.h"
#include "lacuna/core/log.h"
#include "lacuna/train/trainer.h"

namespace lacuna::cli {
namespace {

struct Options {
  std::string what, data, out, init;
  std::vector<std::string> settings;
  bool resume = false, partial = false;
  Output output;
};

std::unique_ptr<train::RunConfig> read_config(const Options& options) {
  const bool recipe = options.what.ends_with(".toml");
  return recipe ? train::RunConfig::from_toml(read_toml(options.what), options.what)
                : std::make_unique<train::RunConfig>(options.what);
}

// A resumed run keeps its config; only how long and how fast may change.
std::unique_ptr<train::RunConfig> resumed_config(const Options& options) {
  const auto path = (io::fs::path(options.out) / "config.toml").string();
  if (!io::fs::exists(path))
    fail(options.out, "holds no run to resume", "leave out --resume, or check --out");
  auto config = train::RunConfig::from_toml(read_toml(path), path);
  const bool same_method =
      options.what.empty() || options.what.ends_with(".toml") || options.what == config->method;
  if (!same_method)
    fail(options.out, "is a run of " + config->method + ", not of " + options.what,
         "name that method, or none");
  return config;
}

void pretrain(const Options& options) {
  if (options.output.json) log::reserve_stdout();
  auto config = options.resume ? resumed_config(options) : read_config(options);
  if (!options.data.empty()) config->table.set("data.uri", options.data, "--data");
  for (const auto& setting : options.settings) config->table.set_assignment(setting, "--set");
  if (!options.init.empty()) config->table.set("train.init", options.init, "--init");
  if (options.partial) config->table.set("train.init_partial", true, "--partial");
  const auto processes =
      train::join_processes(train::choose_device(config->train.device), config->train.timeout_s);
  train::run_together(processes.get(), [&] {
    train::Trainer trainer(std::move(config), options.out, options.resume, processes.get());
    trainer.run();
    if (processes && !processes->first()) return;
    const auto& verdict = trainer.verdict();
    options.output.print({{"run", options.out}, {"steps", trainer.plan().steps}, {"verdict", verdict.text}},
                         str("done: ", trainer.plan().steps, " steps in ", options.out, "; ", verdict.text));
  });
}

const Register<Command> registered{
    "pretrain",
    {"train by masked prediction", [](CLI::App& app) {
       auto options = std::make_shared<Options>();
       app.add_option("what", options->what, "a method (`lacuna list methods`) or a recipe.toml");
       app.add_option("--data", options->data, "data URI or path; the recipe's, else synthetic:scenes");
       app.add_option("--out", options->out, "the run's folder")->required();
       app.add_option("--set", options->settings, "key=value, as often as wanted")->take_all();
       app.add_option("--init", options->init, "weights to start from");
       app.add_flag("--partial", options->partial, "load what fits of --init and say what did not");
       app.add_flag("--resume", options->resume, "continue the run in --out");
       options->output.add_to(app);
       return [options] {
         if (options->what.empty() && !options->resume)
           fail("pretrain", "no method or recipe is named", "write e.g. lacuna pretrain mae --out run");
         pretrain(*options);
       };
     }}};

}  // namespace
}  // namespace lacuna::cli
