// lacuna inspect DATA|WEIGHTS

#include "lacuna/data/inspect.h"
#include "lacuna/cli/command.h"
#include "lacuna/core/log.h"
#include "lacuna/eval/protocol.h"
#include "lacuna/train/infer.h"
#include "lacuna/train/names.h"

namespace lacuna::cli {
namespace {

struct Options {
  std::string what;
  int64_t limit = 0, workers = 2;
  Output output;
};

bool is_weights(const std::string& what) {
  namespace fs = std::filesystem;
  return what.ends_with(".safetensors") || fs::is_directory(fs::path(what) / "checkpoints") ||
         fs::exists(fs::path(what) / "model.safetensors");
}

/// Method and encoder that a file holds or that its shapes tell; why not, when they don't.
Json config_of_file(const train::Weights& weights) {
  try {
    auto official = weights;
    official.tensors = train::to_official(std::move(official.tensors));
    const auto config = train::config_of(official);
    Json out = {{"method", config->method}};
    for (const auto& field : config->table.fields())
      if (field.key.starts_with("encoder.")) out[field.key] = field.get();
    return out;
  } catch (const Error& error) {
    return error.what();
  }
}

Json describe(const train::Weights& weights) {
  int64_t parameters = 0;
  bool decoder = false;
  Json tensors = Json::array();
  for (const auto& [name, tensor] : weights.tensors) {
    parameters += tensor.numel();
    decoder |= name.starts_with("decoder");
    tensors.push_back(
        {{"name", name}, {"type", c10::toString(tensor.scalar_type())}, {"shape", tensor.sizes().vec()}});
  }
  const auto written = weights.metadata.find("lacuna.method");
  auto config = config_of_file(weights);
  const std::string method = written != weights.metadata.end() ? written->second
                             : config.is_object()
                                 ? config["method"].get<std::string>() + " (read off its tensors)"
                                 : "unknown (not written by lacuna)";
  return {{"file", weights.origin},
          {"method", method},
          {"names", train::format_of(weights.tensors)},
          {"config", std::move(config)},
          {"parameters", parameters},
          {"decoder", decoder},
          {"tensors", std::move(tensors)},
          {"load", str("lacuna eval knn ", weights.origin, " --data URI")}};
}

std::string to_text(const Json& info) {
  std::string out =
      str(info["file"].get<std::string>(), "\n  method      ", info["method"].get<std::string>(),
          "\n  names       ", info["names"].get<std::string>(), "\n  parameters  ", info["parameters"],
          "\n  decoder     ", info["decoder"] ? "yes" : "no", "\n  to load it  ",
          info["load"].get<std::string>(), "\n  tensors     ", info["tensors"].size());
  const auto& config = info["config"];
  if (config.is_object())
    for (const auto& [key, value] : config.items()) out += str("\n  ", key, " ", value.dump());
  else
    out += "\n  config      " + config.get<std::string>();
  for (const auto& tensor : info["tensors"])
    out += str("\n    ", tensor["name"].get<std::string>(), " ", tensor["shape"].dump(), " ",
               tensor["type"].get<std::string>());
  return out;
}

void inspect(const Options& options) {
  if (options.output.json) log::reserve_stdout();
  if (is_weights(options.what)) {
    const auto description = describe(train::find_weights(options.what));
    options.output.print(description, to_text(description));
    return;
  }
  const auto dataset = data::open_dataset(options.what);
  const auto& inspector = Registry<data::Inspector>::instance().get(dataset->modality());
  const auto report = inspector.inspect(*dataset, options.limit, options.workers);
  options.output.print(report.json, report.text);
}

const Register<Command> registered{
    "inspect",
    {"what is in a data set or a weights file", [](CLI::App& app) {
       auto options = std::make_shared<Options>();
       app.add_option("what", options->what, "a data URI or path, a run, or a safetensors file")->required();
       app.add_option("--limit", options->limit, "read at most so many records, evenly spread; 0: all")
           ->check(CLI::NonNegativeNumber);
       app.add_option("--workers", options->workers, "threads that decode")->check(CLI::Range(1, 1024));
       options->output.add_to(app);
       return [options] { inspect(*options); };
     }}};

}  // namespace
}  // namespace lacuna::cli
