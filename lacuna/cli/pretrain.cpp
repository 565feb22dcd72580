// lacuna pretrain METHOD|RECIPE.toml --data URI --out RUN

#include <fstream>
#include <iostream>

#include "lacuna/cli/command.h"
#include "lacuna/core/log.h"
#include "lacuna/train/dry_run.h"
#include "lacuna/train/preparation.h"
#include "lacuna/train/trainer.h"

namespace lacuna::cli {
namespace {

struct Options {
  std::string what, data, out, init;
  std::vector<std::string> settings;
  bool resume = false, partial = false, dry_run = false, no_measure = false;
  Output output;
};

std::unique_ptr<train::RunConfig> read_config(const Options& options) {
  const bool recipe = options.what.ends_with(".toml");
  return recipe ? train::RunConfig::from_toml(read_toml(options.what), options.what)
                : std::make_unique<train::RunConfig>(options.what);
}

// A resumed run keeps its config; only how long and how fast may change.
std::unique_ptr<train::RunConfig> resumed_config(const Options& options) {
  const auto path = train::config_to_resume(options.out).string();
  if (path.empty()) fail(options.out, "holds no run to resume", "leave out --resume, or check --out");
  auto config = train::RunConfig::from_toml(read_toml(path), path);
  const bool same_method =
      options.what.empty() || options.what.ends_with(".toml") || options.what == config->method;
  if (!same_method)
    fail(options.out, "is a run of " + config->method + ", not of " + options.what,
         "name that method, or none");
  return config;
}

void pretrain(const Options& options) {
  if (options.resume && (!options.init.empty() || options.partial))
    fail("--init", "a resumed run goes on with its own weights",
         "leave out --init and --partial, or start a new run");
  if (options.output.json) log::reserve_stdout();
  auto config = options.resume ? resumed_config(options) : read_config(options);
  if (!options.data.empty()) config->table.set("data.uri", options.data, "--data");
  for (const auto& setting : options.settings) config->table.set_assignment(setting, "--set");
  if (!options.init.empty()) config->table.set("train.init", options.init, "--init");
  if (options.partial) config->table.set("train.init_partial", true, "--partial");
  if (options.dry_run) {
    const auto result = train::dry_run(*config, !options.no_measure);
    options.output.print(result.to_json(), config->to_toml() + "\n" + result.to_text());
    return;
  }
  const auto processes =
      train::join_processes(train::choose_device(config->train.device), config->train.timeout_s);
  train::run_together(processes.get(), [&] {
    const bool resume = train::prepare(*config, options.out, options.resume, processes.get());
    train::Trainer trainer(std::move(config), options.out, resume, processes.get());
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
       app.add_option("--data", options->data, "data URI or path; the recipe's, else drawn by the program");
       app.add_option("--out", options->out, "the run's folder");
       app.add_option("--set", options->settings, "key=value, as often as wanted")->take_all();
       app.add_option("--init", options->init, "weights to start from");
       app.add_flag("--partial", options->partial, "load what fits of --init and say what did not");
       auto* resume = app.add_flag("--resume", options->resume, "continue the run in --out");
       auto* dry_run = app.add_flag("--dry-run", options->dry_run,
                                    "show config, size, memory, steps and time of the run; write nothing")
                           ->excludes(resume);
       app.add_flag("--no-measure", options->no_measure, "with --dry-run: take no steps to measure the time")
           ->needs(dry_run);
       options->output.add_to(app);
       return [options] {
         if (options->out.empty() && !options->dry_run)
           fail("pretrain", "--out is not given", "name the run's folder: --out run");
         if (options->what.empty() && !options->resume)
           fail("pretrain", "no method or recipe is named", "write e.g. lacuna pretrain mae --out run");
         pretrain(*options);
       };
     }}};

}  // namespace
}  // namespace lacuna::cli
