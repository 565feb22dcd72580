#include "lacuna/eval/generate.h"

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/subset.h"

namespace lacuna::eval {

namespace {

Json keys_of(GenerateConfig config) {
  ConfigTable table;
  table.add("", config);
  return table.to_json();
}

}  // namespace

void GenerateConfig::fields(Fields& f) {
  f("samples", samples, "futures of each record").range(1, 100000);
  f("complete", complete,
    "what was observed replaces what is generated at each step, where the model's mask.complete says so");
  f("told", told, "share of records whose history the network is told; -1: as the model says").range(-1, 1);
  f("mode", mode,
    "predict: what comes next; control: the same with some joints given; switch: from each record to "
    "the end of the first")
      .choices({"predict", "control", "switch"});
  f("joints", joints, "control: the joints that are given, counted without the root").range(0);
  f("group", group, "control: joints of Human3.6M's skeleton of 17 by name, instead of joints")
      .choices({"", "right-leg", "left-leg", "torso", "left-arm", "right-arm", "lower-body", "upper-body"});
  f("multimodal_threshold", multimodal_threshold,
    "forecast: two windows begin alike when their last observed poses are nearer than this")
      .range(0);
  f("animate", animate, "write an animated picture for each record");
  f("prompt", prompt, "texts: what to begin with; empty: the beginning of each record");
  f("prompt_tokens", prompt_tokens, "texts: so many tokens of a record").range(1);
  f("tokens", tokens, "texts: at most so many new ones").range(1);
  f("temperature", temperature, "texts: above 0 draws, 0 takes the likeliest").range(0);
  f("top_k", top_k, "texts: only the k likeliest are drawn from; 0: all").range(0);
  f("top_p", top_p, "texts: only the likeliest whose shares sum up to this are drawn from").range(0, 1);
}

Json generate(const GenerateRequest& request) {
  if (io::fs::exists(request.out))
    fail("--out " + request.out.string(), "is there already", "name a new folder");
  auto settings = request.settings;
  auto config = take_eval_config(settings);
  const auto model =
      load_model(request.weights, settings, {.best = request.best, .ema = config.weights == "ema"});
  const auto* generator = Registry<Generator>::instance().find(model.config->method);
  if (generator == nullptr)
    fail(request.weights, str("holds weights of ", model.config->method, ", which generates nothing"),
         str("use those of ", join(Registry<Generator>::instance().names())));
  const auto uri = request.data.empty() ? model.config->data.uri : request.data;
  const auto made = generator->generate(model, data::open_dataset(uri, "test"), config);
  const Json document = {{"method", model.config->method},
                         {"weights", model.origin},
                         {"data", uri},
                         {"settings", keys_of(config.generate)},
                         {"items", made.items}};
  io::write_folder_atomically(request.out, [&](const io::fs::path& folder) {
    io::save_safetensors(folder / "samples.safetensors", made.tensors);
    io::write_atomically(folder / "samples.json", document.dump(2) + "\n");
    for (const auto& [name, bytes] : made.files) {
      io::make_folder((folder / name).parent_path());
      io::write_atomically(folder / name, bytes);
    }
  });
  return document;
}

}  // namespace lacuna::eval
