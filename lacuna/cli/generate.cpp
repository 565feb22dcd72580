// lacuna generate RUN|WEIGHTS --data URI --out DIR

#include "lacuna/eval/generate.h"

#include "lacuna/cli/command.h"
#include "lacuna/core/log.h"

namespace lacuna::cli {
namespace {

struct Options {
  eval::GenerateRequest request;
  std::string out;
  Output output;
};

void generate(Options& options) {
  if (options.output.json) log::reserve_stdout();
  options.request.out = options.out;
  const auto document = eval::generate(options.request);
  options.output.print(document, str(options.out, ": samples of ", document.at("items").size(),
                                     " records: samples.safetensors, samples.json, pictures"));
}

const Register<Command> registered{
    "generate",
    {"samples from a generative method", [](CLI::App& app) {
       auto options = std::make_shared<Options>();
       auto& request = options->request;
       app.add_option("weights", request.weights, "a run, a checkpoint or a safetensors file")->required();
       app.add_option("--data", request.data,
                      "what to begin with: data URI or path; the run's own by default");
       app.add_option("--out", options->out, "a new folder")->required();
       app.add_option("--set", request.settings,
                      "generate.key=value, eval.key=value (eval.max_test: how many)");
       app.add_flag("--best", request.best, "a run's best checkpoint by probe instead of its last");
       options->output.add_to(app);
       return [options] { generate(*options); };
     }}};

}  // namespace
}  // namespace lacuna::cli
