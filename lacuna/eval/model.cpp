#include <algorithm>
#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/eval/protocol.h"
#include "lacuna/train/trainer.h"

namespace lacuna::eval {

namespace {

// What the released MAE and timm files were trained with.
const std::vector<double> kImageNetMean{0.485, 0.456, 0.406}, kImageNetStd{0.229, 0.224, 0.225};
constexpr int64_t kHeadWidth = 64;         // of every ViT from tiny to huge but the last
constexpr int64_t kDecoderHeadWidth = 32;  // of MAE's decoder: 512 wide, 16 heads

bool is_decoder(const std::string& name) { return name.starts_with("decoder_") || name == "mask_token"; }

/// A file's tensors, asked for by name.
struct Sizes {
  const io::Tensors& tensors;
  const std::string& origin;

  bool has(const std::string& name) const { return tensors.count(name) != 0; }

  /// Error unless the tensor is there with `dims` dimensions.
  at::IntArrayRef of(const std::string& name, size_t dims) const {
    const auto found = tensors.find(name);
    if (found == tensors.end())
      fail(origin, str("holds no tensor '", name, "', so it is no ViT under official or timm names"),
           "give a run, one of its checkpoints, or weights with official or timm names");
    if (static_cast<size_t>(found->second.dim()) != dims)
      fail(origin, str("'", name, "' has shape ", found->second.sizes(), ", not ", dims, " dimensions"),
           "give weights of a plain ViT");
    return found->second.sizes();
  }

  /// The number of blocks `prefix`.0, `prefix`.1, ...
  int64_t depth(const std::string& prefix) const {
    int64_t count = 0;
    while (has(str(prefix, ".", count, ".norm1.weight"))) ++count;
    return count;
  }
};

/// img_size from the number of rows of pos_embed, which must be those of a square.
int64_t square_side(int64_t patches, const std::string& origin) {
  const auto side = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(patches))));
  if (side * side != patches)
    fail(origin, str("its ", patches, " positions are no square, so the picture's size can't be told"),
         "give it: --set encoder.img_size=[height, width]");
  return side;
}

void infer_encoder(const Sizes& sizes, const ConfigTable& given, ConfigTable& table) {
  const auto& origin = sizes.origin;
  const auto set = [&](const std::string& key, const Json& value) {
    table.set("encoder." + key, value, origin);
  };
  const auto kernel = sizes.of("patch_embed.proj.weight", 4);  // [D, C, ph, pw]
  set("arch", "vit");
  set("embed_dim", kernel[0]);
  set("in_chans", kernel[1]);
  set("patch_size", {kernel[2], kernel[3]});
  set("depth", sizes.depth("blocks"));
  set("mlp_ratio",
      static_cast<double>(sizes.of("blocks.0.mlp.fc1.weight", 2)[0]) / static_cast<double>(kernel[0]));
  set("qkv_bias", sizes.has("blocks.0.attn.qkv.bias"));
  set("class_token", sizes.has("cls_token"));
  if (sizes.has("blocks.0.ls1.gamma")) set("init_values", 1.0);
  if (!sizes.has("pos_embed")) {
    set("pos_embed", "none");
  } else {
    set("pos_embed", kernel[0] % 4 == 0 ? "sincos2d-fixed" : "learned");
    if (!given.is_set("encoder.img_size")) {
      const int64_t patches = sizes.of("pos_embed", 3)[1] - (sizes.has("cls_token") ? 1 : 0);
      const int64_t side = square_side(patches, origin);
      set("img_size", {side * kernel[2], side * kernel[3]});
    }
  }
  if (kernel[0] % kHeadWidth == 0)
    set("num_heads", kernel[0] / kHeadWidth);
  else if (!given.is_set("encoder.num_heads"))
    fail(origin, str("the number of attention heads can't be read off weights ", kernel[0], " wide"),
         "give it: --set encoder.num_heads=N");
}

/// True when the file holds a decoder.
bool infer_decoder(const Sizes& sizes, ConfigTable& table) {
  if (!sizes.has("decoder_embed.weight")) {
    table.set("decoder.depth", 1, sizes.origin);  // fresh and unused: as small as may be
    return false;
  }
  const int64_t width = sizes.of("decoder_embed.weight", 2)[0];
  table.set("decoder.embed_dim", width, sizes.origin);
  table.set("decoder.depth", sizes.depth("decoder_blocks"), sizes.origin);
  table.set(
      "decoder.mlp_ratio",
      static_cast<double>(sizes.of("decoder_blocks.0.mlp.fc1.weight", 2)[0]) / static_cast<double>(width),
      sizes.origin);
  table.set("decoder.num_heads", std::max<int64_t>(1, width / kDecoderHeadWidth), sizes.origin);
  return true;
}

void infer_normalization(const ConfigTable& given, train::RunConfig& config) {
  if (given.is_set("data.mean") && given.is_set("data.std")) return;
  const auto channels = config.table.get("encoder.in_chans").get<int64_t>();
  if (channels != 3)
    fail("normalisation",
         str("weights for ", channels, " channels that do not say what they were trained with"),
         "give --set data.mean=[...] and data.std=[...] (`lacuna inspect DATA` measures them)");
  config.data.mean = kImageNetMean;
  config.data.std = kImageNetStd;
}

/// The config of a file that carries none, read off its tensors. `settings` are the user's and win.
std::unique_ptr<train::RunConfig> infer_config(const train::Weights& weights,
                                               const std::vector<std::string>& settings) {
  train::RunConfig given("mae");
  for (const auto& setting : settings) given.table.set_assignment(setting, "--set");
  auto config = std::make_unique<train::RunConfig>("mae");
  const Sizes sizes{weights.tensors, weights.origin};
  infer_encoder(sizes, given.table, config->table);
  const bool decoder = infer_decoder(sizes, config->table);
  infer_normalization(given.table, *config);
  for (const auto& setting : settings) config->table.set_assignment(setting, "--set");
  const auto get = [&](const char* key) { return config->table.get(str("encoder.", key)).dump(); };
  log::info(str(weights.origin, ": no config inside; read off its tensors: ViT, width ", get("embed_dim"),
                ", depth ", get("depth"), ", heads ", get("num_heads"), ", patch ", get("patch_size"),
                ", input ", get("img_size"), " x ", get("in_chans"), " channels",
                decoder ? "" : "; no decoder (features do not need one)"));
  return config;
}

/// A classifier's head is no part of an encoder.
io::Tensors without_classifier(io::Tensors tensors, const std::string& origin) {
  const size_t before = tensors.size();
  std::erase_if(tensors, [](const auto& item) {
    return item.first.starts_with("head.") || item.first.starts_with("fc_norm.");
  });
  if (tensors.size() != before)
    log::info(str(origin, ": left out a classifier (", before - tensors.size(), " tensors)"));
  return tensors;
}

/// Strict, but for a decoder that the file lacks as a whole.
void load_strictly(Method& method, const io::Tensors& tensors, const std::string& origin) {
  const bool decoder =
      std::any_of(tensors.begin(), tensors.end(), [](const auto& item) { return is_decoder(item.first); });
  if (!decoder) {
    const auto skipped = load_weights(method, tensors, origin, /*partial=*/true);
    if (std::all_of(skipped.begin(), skipped.end(), is_decoder)) return;
  }
  load_weights(method, tensors, origin);
}

}  // namespace

Model load_model(const std::string& run_or_weights, const std::vector<std::string>& settings, bool best) {
  auto weights = train::find_weights(run_or_weights, best);
  Model model;
  model.origin = weights.origin;
  const auto carried = weights.metadata.find("lacuna.config");
  if (carried != weights.metadata.end()) {
    model.config = train::RunConfig::from_toml(parse_toml(carried->second, weights.origin), weights.origin);
    for (const auto& setting : settings) model.config->table.set_assignment(setting, "--set");
  } else {
    weights.tensors = without_classifier(std::move(weights.tensors), weights.origin);
    model.config = infer_config(weights, settings);
  }
  model.config->resolve();
  model.normalization = {model.config->data.mean, model.config->data.std};
  const auto channels = static_cast<size_t>(model.config->table.get("encoder.in_chans").get<int64_t>());
  if (model.normalization.mean.size() != channels || model.normalization.std.size() != channels)
    fail(str(model.origin, ": data.mean and data.std"),
         str("need ", channels, " numbers each, one for each channel"),
         "give them: --set data.mean=[...] --set data.std=[...]");
  model.method = model.config->make_method();
  load_strictly(*model.method, weights.tensors, weights.origin);
  model.method->to(train::choose_device(model.config->train.device));
  model.method->eval();
  return model;
}

}  // namespace lacuna::eval
