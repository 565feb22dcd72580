// What R-AMT needs before its training: a CLIP. RUN/base is a run of its own where base.settings train one;
// RUN/base.safetensors holds the frozen image tower and the classes' text features. Afterwards packed bits
// are all that is new: they are completed by the same base.

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/core/torch.h"
#include "lacuna/method/r_amt.h"
#include "lacuna/nn/weight_mask.h"
#include "lacuna/train/class_texts.h"
#include "lacuna/train/export.h"
#include "lacuna/train/infer.h"
#include "lacuna/train/preparation.h"
#include "lacuna/train/signals.h"

namespace lacuna::train {
namespace {

namespace fs = io::fs;

const RAmtConfig& keys_of(const RunConfig& config) {
  return dynamic_cast<const RAmtConfig&>(*config.method_config);
}

/// A CLIP, from wherever it is kept.
struct Base {
  std::unique_ptr<RunConfig> config;
  std::shared_ptr<Clip> clip;
};

Base open_base(const std::string& path) {
  const auto weights = open_weights(path);
  Base out{config_of(weights), nullptr};
  out.config->resolve();
  if (out.config->method != "clip")
    fail(str("base.weights ", path), str("are weights of ", out.config->method, ", not of a CLIP"),
         "give a run of clip, or weights under OpenAI's or transformers' names");
  out.clip = std::dynamic_pointer_cast<Clip>(out.config->make_method());
  load_into(*out.clip, weights, *out.config);
  out.clip->eval();
  return out;
}

/// visual.*, logit_scale and text_features.
io::Tensors tensors_of(const Base& base, const RAmtConfig& keys) {
  io::Tensors out;
  for (const auto& [name, tensor] : base.clip->weights())
    if (name.starts_with("visual.") || name == "logit_scale") out[name] = tensor.detach();
  out["text_features"] = class_text_features(*base.clip, caption_encoder(*base.config), keys.head.class_names,
                                             keys.base.templates, keys.base.template_mean == "normalized");
  return out;
}

/// The masked tower is the base's.
void copy_sizes(const RunConfig& base, RunConfig& config, const std::string& origin) {
  auto& table = config.table;
  for (const auto& field : base.table.fields())
    if ((field.key.starts_with("encoder.") || field.key == "projection.dim") && table.has(field.key))
      table.set(field.key, field.get(), origin);
  table.set("encoder.arch", "clip_vit", origin);
  for (const char* key : {"data.mean", "data.std"}) table.set(key, base.table.get(key), origin);
}

std::unique_ptr<RunConfig> base_run(const RunConfig& config) {
  auto base = std::make_unique<RunConfig>("clip");
  base->table.set("data.uri", config.data.uri, "the run");
  for (const char* key : {"train.seed", "train.device", "train.workers"})
    base->table.set(key, config.table.get(key), "the run");
  for (const auto& setting : keys_of(config).base.settings)
    base->table.set_assignment(setting, "base.settings");
  return base;
}

void name_classes(RunConfig& config) {
  if (!keys_of(config).head.class_names.empty()) return;
  const auto names = data::open_dataset(config.data.uri, "train")->classes();
  if (names.empty())
    fail(config.data.uri, "has no labels, which the masks are tuned by",
         "use a set with class folders or labelled records");
  config.table.set("head.class_names", names, "the data");
}

void prepare_r_amt(RunConfig& config, const fs::path& run, Processes* processes) {
  const SignalGuard signals;
  const auto given = keys_of(config).base;
  if (given.weights.empty() && given.settings.empty()) {
    log::warn("r-amt: no base.weights and no base.settings: the masked CLIP is one that was never trained");
    return;
  }
  name_classes(config);
  const auto trained = fs::absolute(run / "base").lexically_normal();
  if (given.weights.empty()) {
    train_before(
        trained, "a CLIP to mask", [&] { return base_run(config); }, processes);
    config.table.set("base.weights", trained.string(), "base.settings");
  }
  const auto path = keys_of(config).base.weights;
  const auto base = open_base(path);
  copy_sizes(*base.config, config, path);
  config.table.set("head.num_classes", std::ssize(keys_of(config).head.class_names), "head.class_names");
  const auto file = fs::absolute(run / "base.safetensors").lexically_normal();
  // In a file that says what it is: load_into reads it by this config.
  if ((!processes || processes->first()) && !fs::exists(file))
    io::save_safetensors(file, tensors_of(base, keys_of(config)),
                         {{"format", "pt"}, {"lacuna.method", "r-amt"}, {"lacuna.config", config.to_toml()}});
  if (processes) processes->barrier();
  config.table.set("train.init", file.string(), "base.weights");
}

/// Of a file without the tower: the base's, or, where there is none, the one that the seed draws. Scores that
/// a file does not hold begin as they do.
void complete(io::Tensors& tensors, const RunConfig& source, const Method& method) {
  const auto own = method.weights();
  const bool tower = tensors.count("visual.conv1.weight") != 0;
  io::Tensors found;
  if (!tower && !keys_of(source).base.weights.empty())
    found = tensors_of(open_base(keys_of(source).base.weights), keys_of(source));
  for (const auto& [name, tensor] : own) {
    const auto from = found.find(name);
    const bool score = name.ends_with(".mask_real");
    if (from != found.end())
      tensors.emplace(name, from->second);
    else if (tower ? score : found.empty())
      tensors.emplace(name, tensor);
  }
}

/// The bits alone, as officially.
io::Tensors packed(const io::Tensors& tensors, const RunConfig& config) {
  if (keys_of(config).tune != "masks") return tensors;
  io::Tensors out;
  for (const auto& [name, tensor] : tensors)
    if (name.ends_with(".mask_real"))
      out[name] = tensor.scalar_type() == torch::kByte
                      ? tensor
                      : nn::pack_bits(tensor, keys_of(config).mask.threshold);
  return out;
}

const Register<Preparation> kPreparation{"r-amt", {prepare_r_amt}};
const Register<Completion> kCompletion{"r-amt", {complete}};
const Register<OfficialForm> kForm{"r-amt", {packed}};

}  // namespace
}  // namespace lacuna::train
