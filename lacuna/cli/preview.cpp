// lacuna preview RUN --out FILE.png

#include "lacuna/cli/command.h"
#include "lacuna/core/log.h"
#include "lacuna/eval/protocol.h"
#include "lacuna/io/animation.h"
#include "lacuna/io/image.h"
#include "lacuna/train/modality.h"
#include "lacuna/train/monitor.h"
#include "lacuna/train/trainer.h"

namespace lacuna::cli {
namespace {

struct Options {
  std::string run, data, out;
  std::vector<std::string> settings;
  bool best = false;
  Output output;
};

void preview(const Options& options) {
  if (options.output.json) log::reserve_stdout();
  auto model = eval::load_model(options.run, {}, {.best = options.best});
  auto& config = *model.config;
  if (!options.data.empty()) config.table.set("data.uri", options.data, "--data");
  for (const auto& setting : options.settings) config.table.set_assignment(setting, "--set");
  // The pictures alone are wanted: the fewest that a monitor reads.
  config.health.samples = std::max<int64_t>(2, 2 * config.health.preview_images);
  auto dataset = data::open_dataset(config.data.uri, "train");
  if (options.data.empty())
    dataset = config.modality().settle(config, std::move(dataset));  // with its labels
  const train::Monitor monitor(config, dataset, *train::make_transform(config, *model.method),
                               model.method->parameters().front().device());
  const auto panel = monitor.panel(*model.method);
  io::write_atomically(options.out, io::encode_png(panel));
  Json written = {{"out", options.out}, {"height", panel.size(0)}, {"width", panel.size(1)}};
  std::string text = options.out;
  const auto moving = monitor.animation(*model.method);
  if (moving.frames.defined()) {
    const auto file = io::fs::path(options.out).replace_extension(".apng").string();
    io::write_atomically(file, io::encode_apng(moving.frames, moving.rate));
    written["animation"] = file;
    text += ", moving in " + file;
  }
  options.output.print(written, text);
}

const Register<Command> registered{
    "preview",
    {"what was masked, what was predicted, the original, side by side", [](CLI::App& app) {
       auto options = std::make_shared<Options>();
       app.add_option("run", options->run, "a run, a checkpoint or a safetensors file")->required();
       app.add_option("--out", options->out, "the PNG to write")->required();
       app.add_option("--data", options->data, "pictures from elsewhere; the run's own by default");
       app.add_option("--set", options->settings, "e.g. health.preview_images=12, mask.ratio=0.9");
       app.add_flag("--best", options->best, "a run's best checkpoint by probe instead of its last");
       options->output.add_to(app);
       return [options] { preview(*options); };
     }}};

}  // namespace
}  // namespace lacuna::cli
