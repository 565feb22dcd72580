// lacuna bench WHAT [--json]

#include "lacuna/train/bench.h"

#include <filesystem>

#include "lacuna/cli/command.h"
#include "lacuna/core/log.h"

namespace lacuna::cli {
namespace {

struct Options {
  std::string what, method = "mae", data;
  std::vector<std::string> settings;
  train::BenchOptions bench;
  Output output;
};

Json bench(const Options& options) {
  const std::vector<std::string> known = {"step", "data", "startup"};
  if (std::find(known.begin(), known.end(), options.what) == known.end())
    fail("bench " + options.what, "unknown", suggest(options.what, known));
  auto config = options.method.ends_with(".toml")
                    ? train::RunConfig::from_toml(read_toml(options.method), options.method)
                    : std::make_unique<train::RunConfig>(options.method);
  if (!options.data.empty()) config->table.set("data.uri", options.data, "--data");
  for (const auto& setting : options.settings) config->table.set_assignment(setting, "--set");
  if (options.what == "step") return train::bench_step(*config, options.bench);
  if (options.what == "data") return train::bench_data(*config, options.bench);
  return train::bench_startup(std::filesystem::read_symlink("/proc/self/exe").string(), *config,
                              options.bench);
}

const Register<Command> registered{
    "bench", {"how fast a step, the data or a start is", [](CLI::App& app) {
                auto options = std::make_shared<Options>();
                app.add_option("what", options->what, "step, data or startup")->required();
                app.add_option("method", options->method, "a method or a recipe.toml; mae by default");
                app.add_option("--data", options->data,
                               "data URI or path; the recipe's, else synthetic:scenes");
                app.add_option("--set", options->settings, "key=value, as often as wanted")->take_all();
                app.add_option("--runs", options->bench.runs, "pieces of work that are timed")
                    ->check(CLI::Range(1, 1000000));
                app.add_option("--warmup", options->bench.warmup, "and before them, not timed")
                    ->check(CLI::Range(0, 1000000));
                app.add_flag("--cold", options->bench.cold,
                             "startup: drop the kernel's file caches before each run (root)");
                options->output.add_to(app);
                return [options] {
                  if (options->output.json) log::reserve_stdout();
                  const auto result = bench(*options);
                  options->output.print(result, train::bench_text(result));
                };
              }}};

}  // namespace
}  // namespace lacuna::cli
