// lacuna explain METHOD RUN|WEIGHTS --data URI --out DIR

#include "lacuna/eval/explain.h"

#include "lacuna/cli/command.h"
#include "lacuna/core/log.h"

namespace lacuna::cli {
namespace {

struct Options {
  eval::ExplainRequest request;
  std::string out;
  Output output;
};

void explain(Options& options) {
  if (options.output.json) log::reserve_stdout();
  options.request.out = options.out;
  const auto document = eval::explain(options.request);
  options.output.print(document,
                       str(options.out, ": ", document.at("items").size(),
                           " pictures explained: attributions.safetensors, attributions.json, heatmaps/"));
}

const Register<Command> registered{
    "explain",
    {"which parts of pictures a classifier's answers rest on", [](CLI::App& app) {
       auto options = std::make_shared<Options>();
       auto& request = options->request;
       app.add_option("method", request.explainer, "layer-masking, saliency: `lacuna list explainers`")
           ->required();
       app.add_option("weights", request.weights, "a classifier: a run, a checkpoint or a safetensors file")
           ->required();
       app.add_option("--data", request.data, "data URI or path; the run's own by default");
       app.add_option("--out", options->out, "a new folder")->required();
       app.add_option("--set", request.settings,
                      "explain.key=value (`lacuna info layer-masking`), eval.key=value");
       app.add_flag("--best", request.best, "a run's best checkpoint by probe instead of its last");
       options->output.add_to(app);
       return [options] { explain(*options); };
     }}};

}  // namespace
}  // namespace lacuna::cli
