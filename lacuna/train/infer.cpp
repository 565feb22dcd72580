#include "lacuna/train/infer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/nn/conv_net.h"
#include "lacuna/train/names.h"

namespace lacuna::train {

namespace {

// What the released MAE and timm files were trained with.
const std::vector<double> kImageNetMean{0.485, 0.456, 0.406}, kImageNetStd{0.229, 0.224, 0.225};
constexpr int64_t kHeadWidth = 64;         // of every ViT from tiny to huge but the last
constexpr int64_t kDecoderHeadWidth = 32;  // of MAE's decoder: 512 wide, 16 heads

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

void infer_vit(const Sizes& sizes, const ConfigTable& given, ConfigTable& table) {
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

void infer_decoder(const Sizes& sizes, ConfigTable& table) {
  if (!sizes.has("decoder_embed.weight")) {
    table.set("decoder.depth", 1, sizes.origin);  // fresh and unused: as small as may be
    return;
  }
  const int64_t width = sizes.of("decoder_embed.weight", 2)[0];
  table.set("decoder.embed_dim", width, sizes.origin);
  table.set("decoder.depth", sizes.depth("decoder_blocks"), sizes.origin);
  table.set(
      "decoder.mlp_ratio",
      static_cast<double>(sizes.of("decoder_blocks.0.mlp.fc1.weight", 2)[0]) / static_cast<double>(width),
      sizes.origin);
  table.set("decoder.num_heads", std::max<int64_t>(1, width / kDecoderHeadWidth), sizes.origin);
}

/// Of HPM: pixels or features (of no known network: a file does not say whose), and whether there is a
/// secondary mask (of no known share).
void infer_hpm(const Sizes& sizes, ConfigTable& table) {
  const int64_t pixels = sizes.of("decoder_pred_losspred.weight", 2)[0];
  if (sizes.of("decoder_pred.weight", 2)[0] != pixels) table.set("loss.target", "clip", sizes.origin);
  if (sizes.has("vis_mask_token")) table.set("mask.vis_mask_ratio", 0.01, sizes.origin);
}

void infer_normalization(const ConfigTable& given, RunConfig& config) {
  if (given.is_set("data.mean") && given.is_set("data.std")) return;
  const auto channels = config.table.get("encoder.in_chans").get<int64_t>();
  if (channels != 3)
    fail("normalisation",
         str("weights for ", channels, " channels that do not say what they were trained with"),
         "give --set data.mean=[...] and data.std=[...] (`lacuna inspect DATA` measures them)");
  config.data.mean = kImageNetMean;
  config.data.std = kImageNetStd;
}

constexpr const char* kTable = "attn.relative_position_bias_table";

/// Blocks of each stage of a Swin encoder.
std::vector<int64_t> swin_depths(const Sizes& sizes) {
  std::vector<int64_t> depths;
  while (const int64_t depth = sizes.depth(str("encoder.layers.", depths.size(), ".blocks")))
    depths.push_back(depth);
  return depths;
}

/// Side of a square window or grid whose relative table has `rows` rows.
int64_t window_of(int64_t rows, const std::string& origin) { return (square_side(rows, origin) + 1) / 2; }

void infer_swin(const Sizes& sizes, const ConfigTable& given, ConfigTable& table) {
  const auto set = [&](const std::string& key, const Json& value) {
    table.set("encoder." + key, value, sizes.origin);
  };
  const auto kernel = sizes.of("encoder.patch_embed.proj.weight", 4);
  const auto depths = swin_depths(sizes);
  std::vector<int64_t> heads;
  for (size_t s = 0; s < depths.size(); ++s)
    heads.push_back(sizes.of(str("encoder.layers.", s, ".blocks.0.", kTable), 2)[1]);
  const int64_t window = window_of(sizes.of(str("encoder.layers.0.blocks.0.", kTable), 2)[0], sizes.origin);
  set("arch", "swin");
  set("embed_dim", kernel[0]);
  set("in_chans", kernel[1]);
  set("patch_size", {kernel[2], kernel[3]});
  set("depths", depths);
  set("num_heads", heads);
  set("window_size", window);
  set("mlp_ratio", static_cast<double>(sizes.of("encoder.layers.0.blocks.0.mlp.fc1.weight", 2)[0]) /
                       static_cast<double>(kernel[0]));
  set("qkv_bias", sizes.has("encoder.layers.0.blocks.0.attn.qkv.bias"));
  set("ape", sizes.has("encoder.absolute_pos_embed"));
  set("patch_norm", sizes.has("encoder.patch_embed.norm.weight"));
  if (given.is_set("encoder.img_size")) return;
  const std::string mask = "encoder.layers.0.blocks.1.attn_mask";  // [windows, M*M, M*M]
  int64_t grid = 0;
  if (sizes.has("encoder.absolute_pos_embed"))
    grid = square_side(sizes.of("encoder.absolute_pos_embed", 3)[1], sizes.origin);
  else if (sizes.has(mask))
    grid = square_side(sizes.of(mask, 3)[0], sizes.origin) * window;
  else
    fail(sizes.origin, "the picture's size can't be told from a Swin's weights",
         "give it: --set encoder.img_size=224");
  set("img_size", {grid * kernel[2], grid * kernel[3]});
}

void infer_beit(const Sizes& sizes, const ConfigTable& given, ConfigTable& table) {
  const auto set = [&](const std::string& key, const Json& value) {
    table.set("encoder." + key, value, sizes.origin);
  };
  const auto kernel = sizes.of("encoder.patch_embed.proj.weight", 4);
  const std::string shared = "encoder.rel_pos_bias.relative_position_bias_table",
                    own = str("encoder.blocks.0.", kTable);
  set("arch", "beit-vit");
  set("embed_dim", kernel[0]);
  set("in_chans", kernel[1]);
  set("patch_size", {kernel[2], kernel[3]});
  set("depth", sizes.depth("encoder.blocks"));
  set("mlp_ratio", static_cast<double>(sizes.of("encoder.blocks.0.mlp.fc1.weight", 2)[0]) /
                       static_cast<double>(kernel[0]));
  set("qkv_bias", sizes.has("encoder.blocks.0.attn.q_bias"));
  set("init_values", sizes.has("encoder.blocks.0.gamma_1") ? 0.1 : 0.0);
  set("use_abs_pos_emb", sizes.has("encoder.pos_embed"));
  set("use_shared_rel_pos_bias", sizes.has(shared));
  set("use_rel_pos_bias", sizes.has(own));
  set("use_mean_pooling", !sizes.has("encoder.norm.weight"));
  const std::string& tables = sizes.has(shared) ? shared : own;
  if (sizes.has(tables)) {
    set("num_heads", sizes.of(tables, 2)[1]);
  } else if (!given.is_set("encoder.num_heads")) {
    fail(sizes.origin, "the number of attention heads can't be read off its weights",
         "give it: --set encoder.num_heads=N");
  }
  if (given.is_set("encoder.img_size")) return;
  const int64_t grid = sizes.has(tables) ? window_of(sizes.of(tables, 2)[0] - 3, sizes.origin)
                                         : square_side(sizes.of("encoder.pos_embed", 3)[1] - 1, sizes.origin);
  set("img_size", {grid * kernel[2], grid * kernel[3]});
}

/// Large enough for any size; SimMIM's cells must divide the picture, which features never ask about.
void infer_cells(ConfigTable& table, const std::string& origin) {
  table.set("mask.mask_patch_size", table.get("encoder.patch_size")[0], origin);
}

enum class Found { kViT, kBeit, kSwin };

Found kind_of(const Sizes& sizes) {
  if (sizes.has("encoder.layers.0.blocks.0.norm1.weight")) return Found::kSwin;
  const bool beit = sizes.has("encoder.blocks.0.attn.q_bias") || sizes.has("encoder.blocks.0.gamma_1") ||
                    sizes.has("encoder.rel_pos_bias.relative_position_bias_table");
  return beit ? Found::kBeit : Found::kViT;
}

/// A fine-tuned file: the head's keys.
void infer_head(const Sizes& sizes, Found kind, ConfigTable& table) {
  table.set("head.num_classes", sizes.of("head.weight", 2)[0], sizes.origin);
  const bool average = kind == Found::kSwin || sizes.has("fc_norm.weight");
  table.set("head.pool", average ? "avg" : "token", sizes.origin);
}

/// A convolutional network under torchvision's names, which always has a head.
std::unique_ptr<RunConfig> inferred_conv_net(const Weights& weights, const Json& network,
                                             const std::vector<std::string>& settings) {
  auto config = std::make_unique<RunConfig>("supervised");
  for (const auto& [key, value] : network.at("encoder").items())
    config->table.set("encoder." + key, value, weights.origin);
  config->table.set("head.num_classes", network.at("num_classes"), weights.origin);
  for (const auto& setting : settings) config->table.set_assignment(setting, "--set");
  infer_normalization(config->table, *config);
  log::info(str(weights.origin, ": no config inside; read off its tensors: ", network.at("encoder").dump()));
  return config;
}

/// By the method that knows these tensors; null when none does.
std::unique_ptr<RunConfig> inferred_by_method(const Weights& weights,
                                              const std::vector<std::string>& settings) {
  const auto& methods = Registry<MethodInfo>::instance();
  for (const auto& name : methods.names()) {
    const auto& infer = methods.get(name).names.infer;
    const Json found = infer ? infer(weights.tensors) : Json();
    if (found.is_null()) continue;
    auto config = std::make_unique<RunConfig>(name);
    config->table.merge(found, weights.origin);
    for (const auto& setting : settings) config->table.set_assignment(setting, "--set");
    log::info(str(weights.origin, ": no config inside; read off its tensors: ", name, " ",
                  found["encoder"].dump()));
    return config;
  }
  return nullptr;
}

std::unique_ptr<RunConfig> inferred(const Weights& weights, const std::vector<std::string>& settings) {
  if (const auto network = nn::recognize_conv_net(weights.tensors))
    return inferred_conv_net(weights, *network, settings);
  if (auto config = inferred_by_method(weights, settings)) return config;
  const auto prefixed = with_encoder_prefix(weights.tensors);
  const Sizes sizes{prefixed, weights.origin}, plain{weights.tensors, weights.origin};
  const auto kind = kind_of(sizes);
  const bool head = plain.has("head.weight");
  const std::string method = head                                        ? "supervised"
                             : plain.has("decoder_norm_losspred.weight") ? "hpm"
                             : kind == Found::kViT                       ? "mae"
                                                                         : "simmim";
  RunConfig given(method);
  for (const auto& setting : settings) given.table.set_assignment(setting, "--set");
  auto config = std::make_unique<RunConfig>(method);
  auto& table = config->table;
  if (kind == Found::kViT) infer_vit(plain, given.table, table);
  if (kind == Found::kBeit) infer_beit(sizes, given.table, table);
  if (kind == Found::kSwin) infer_swin(sizes, given.table, table);
  if (head) infer_head(plain, kind, table);
  if (method == "mae" || method == "hpm") infer_decoder(plain, table);
  if (method == "hpm") infer_hpm(plain, table);
  if (method == "simmim") infer_cells(table, weights.origin);
  infer_normalization(given.table, *config);
  for (const auto& setting : settings) table.set_assignment(setting, "--set");
  const auto get = [&](const char* key) { return table.get(str("encoder.", key)).dump(); };
  log::info(str(weights.origin,
                ": no config inside; read off its tensors: ", table.get("encoder.arch").get<std::string>(),
                ", width ", get("embed_dim"), ", depth ", get(kind == Found::kSwin ? "depths" : "depth"),
                ", heads ", get("num_heads"), ", patch ", get("patch_size"), ", input ", get("img_size"),
                " x ", get("in_chans"), " channels", head ? ", with a classifier" : ""));
  return config;
}

/// `encoder.*` of a config as a nested document.
Json encoder_keys(const RunConfig& config) {
  const std::string prefix = "encoder.";
  Json out = Json::object();
  for (const auto& field : config.table.fields())
    if (field.key.starts_with(prefix)) out[field.key.substr(prefix.size())] = field.get();
  return {{"encoder", std::move(out)}};
}

}  // namespace

Weights open_weights(const io::fs::path& run_or_file, WeightsChoice choice) {
  auto weights = find_weights(run_or_file, choice);
  weights.tensors = to_official(std::move(weights.tensors));
  return weights;
}

std::unique_ptr<RunConfig> config_of(const Weights& weights, const std::vector<std::string>& settings) {
  const auto carried = weights.metadata.find("lacuna.config");
  if (carried == weights.metadata.end()) return inferred(weights, settings);
  auto config = RunConfig::from_toml(parse_toml(carried->second, weights.origin), weights.origin);
  for (const auto& setting : settings) config->table.set_assignment(setting, "--set");
  return config;
}

std::vector<std::string> load_into(Method& method, const Weights& weights, const RunConfig& source,
                                   bool partial, bool without_decoder) {
  const auto own = method.weights();
  auto tensors = weights.tensors;
  if (own.count("encoder.patch_embed.proj.weight")) tensors = with_encoder_prefix(std::move(tensors));
  if (const auto* completion = Registry<Completion>::instance().find(source.method))
    completion->fill(tensors, source, method);
  tensors = method.adapt(std::move(tensors), encoder_keys(source));
  const bool decoder = std::any_of(tensors.begin(), tensors.end(),
                                   [](const auto& item) { return is_pretraining_only(item.first); });
  for (const auto& [name, tensor] : own)
    if (is_derived(name) || (without_decoder && !decoder && is_pretraining_only(name)))
      tensors.emplace(name, tensor);
  return load_weights(method, tensors, weights.origin, partial);
}

}  // namespace lacuna::train
