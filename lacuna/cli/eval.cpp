// lacuna eval PROTOCOL RUN|WEIGHTS --data URI [--test URI]

#include "lacuna/cli/command.h"
#include "lacuna/core/log.h"
#include "lacuna/eval/protocol.h"

namespace lacuna::cli {
namespace {

struct Options {
  std::string protocol, weights, data, test, out;
  std::vector<std::string> settings;
  bool best = false;
  Output output;
};

std::string to_text(const eval::Result& result) {
  std::string out = str(result.protocol, " of ", result.weights, "\n  learnt from ", result.data,
                        "\n  scored on   ", result.test);
  for (const auto& [name, value] : result.metrics.items()) out += str("\n  ", name, " ", value);
  return out;
}

const Register<Command> registered{
    "eval",
    {"measure what an encoder is worth", [](CLI::App& app) {
       auto options = std::make_shared<Options>();
       app.add_option("protocol", options->protocol, "`lacuna list evals`")->required();
       app.add_option("weights", options->weights, "a run, a checkpoint or a safetensors file")->required();
       app.add_option("--data", options->data, "what the protocol may learn from; the run's own by default");
       app.add_option("--test", options->test, "what it is scored on; the set's test split by default");
       app.add_option("--out", options->out, "finetune: the run's folder; RUN/evals/finetune by default");
       app.add_option("--set", options->settings,
                      "eval.key=value; encoder.key=value for bare weights; finetune: any key of `lacuna info "
                      "supervised`");
       app.add_flag("--best", options->best, "a run's best checkpoint by probe instead of its last");
       options->output.add_to(app);
       return [options] {
         if (options->output.json) log::reserve_stdout();
         const auto processes = eval::join_processes(options->settings);
         train::run_together(processes.get(), [&] {
           const auto result =
               eval::evaluate(options->protocol, options->weights, options->data, options->test,
                              options->settings, options->best, processes.get(), options->out);
           if (!processes || processes->first()) options->output.print(result.to_json(), to_text(result));
         });
       };
     }}};

}  // namespace
}  // namespace lacuna::cli
