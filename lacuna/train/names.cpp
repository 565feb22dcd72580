#include "lacuna/train/names.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <optional>

#include "lacuna/core/error.h"
#include "lacuna/method/method.h"

namespace lacuna::train {

namespace {

/// A name here and there. '#' stands for a number, the same on both sides, '*' for the rest.
struct Rule {
  const char *official, *other;
};
using Rules = std::vector<Rule>;

// transformers as its hub files are named (4.x); 5.x converts them when it loads.
const Rules kViTBlock = {{"norm1.*", "layernorm_before.*"},
                         {"norm2.*", "layernorm_after.*"},
                         {"attn.query.*", "attention.attention.query.*"},
                         {"attn.key.*", "attention.attention.key.*"},
                         {"attn.value.*", "attention.attention.value.*"},
                         {"attn.proj.*", "attention.output.dense.*"},
                         {"mlp.fc1.*", "intermediate.dense.*"},
                         {"mlp.fc2.*", "output.dense.*"}};
// The names inside transformers 5.x, for files that were saved from them.
const Rules kViTBlock5 = {{"norm1.*", "layernorm_before.*"},
                          {"norm2.*", "layernorm_after.*"},
                          {"attn.query.*", "attention.q_proj.*"},
                          {"attn.key.*", "attention.k_proj.*"},
                          {"attn.value.*", "attention.v_proj.*"},
                          {"attn.proj.*", "attention.o_proj.*"},
                          {"mlp.fc1.*", "mlp.fc1.*"},
                          {"mlp.fc2.*", "mlp.fc2.*"}};
const Rules kSwinBlock = {
    {"norm1.*", "layernorm_before.*"},
    {"norm2.*", "layernorm_after.*"},
    {"attn.query.*", "attention.self.query.*"},
    {"attn.key.*", "attention.self.key.*"},
    {"attn.value.*", "attention.self.value.*"},
    {"attn.relative_position_bias_table", "attention.self.relative_position_bias_table"},
    {"attn.relative_position_index", "attention.self.relative_position_index"},
    {"attn.proj.*", "attention.output.dense.*"},
    {"mlp.fc1.*", "intermediate.dense.*"},
    {"mlp.fc2.*", "output.dense.*"}};
const Rules kSwinBlock5 = {
    {"norm1.*", "layernorm_before.*"},
    {"norm2.*", "layernorm_after.*"},
    {"attn.query.*", "attention.q_proj.*"},
    {"attn.key.*", "attention.k_proj.*"},
    {"attn.value.*", "attention.v_proj.*"},
    {"attn.relative_position_bias_table", "attention.relative_position_bias.relative_position_bias_table"},
    {"attn.relative_position_index", "attention.relative_position_bias.relative_position_index"},
    {"attn.proj.*", "attention.o_proj.*"},
    {"mlp.fc1.*", "mlp.fc1.*"},
    {"mlp.fc2.*", "mlp.fc2.*"}};
const Rules kViTRest = {{"cls_token", "vit.embeddings.cls_token"},
                        {"pos_embed", "vit.embeddings.position_embeddings"},
                        {"patch_embed.proj.*", "vit.embeddings.patch_embeddings.projection.*"},
                        {"norm.*", "vit.layernorm.*"},
                        {"mask_token", "decoder.mask_token"},
                        {"decoder_pos_embed", "decoder.decoder_pos_embed"},
                        {"decoder_embed.*", "decoder.decoder_embed.*"},
                        {"decoder_norm.*", "decoder.decoder_norm.*"},
                        {"decoder_pred.*", "decoder.decoder_pred.*"},
                        {"head.*", "classifier.*"}};
const Rules kSwinRest = {{"encoder.mask_token", "swin.embeddings.mask_token"},
                         {"encoder.absolute_pos_embed", "swin.embeddings.position_embeddings"},
                         {"encoder.patch_embed.proj.*", "swin.embeddings.patch_embeddings.projection.*"},
                         {"encoder.patch_embed.norm.*", "swin.embeddings.norm.*"},
                         {"encoder.layers.#.downsample.*", "swin.encoder.layers.#.downsample.*"},
                         {"encoder.norm.*", "swin.layernorm.*"},
                         {"decoder.0.*", "decoder.0.*"},
                         {"head.*", "classifier.*"}};

/// Whether `name` has the form of `pattern`; what '#' and '*' stood for goes into `found`.
bool matches(std::string_view name, std::string_view pattern, std::vector<std::string>& found) {
  size_t at = 0;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '*') {
      found.emplace_back(name.substr(at));
      return at < name.size();
    }
    if (pattern[i] == '#') {
      const size_t begin = at;
      while (at < name.size() && name[at] >= '0' && name[at] <= '9') ++at;
      if (at == begin) return false;
      found.emplace_back(name.substr(begin, at - begin));
    } else if (at >= name.size() || name[at++] != pattern[i]) {
      return false;
    }
  }
  return at == name.size();
}

std::string filled(std::string_view pattern, const std::vector<std::string>& found) {
  std::string out;
  size_t next = 0;
  for (const char c : pattern) {
    if (c == '#' || c == '*')
      out += found.at(next++);
    else
      out += c;
  }
  return out;
}

/// A table of whole names: block rules behind their prefixes, then the rest.
struct Table {
  std::vector<std::pair<std::string, std::string>> rules;  // official, other

  Table& add(const Rules& added, const std::string& official = "", const std::string& other = "") {
    for (const auto& rule : added) rules.emplace_back(official + rule.official, other + rule.other);
    return *this;
  }
  std::optional<std::string> translate(const std::string& name, bool from_official) const {
    for (const auto& [official, other] : rules) {
      std::vector<std::string> found;
      if (matches(name, from_official ? official : other, found))
        return filled(from_official ? other : official, found);
    }
    return std::nullopt;
  }
};

Table vit_table() {
  Table table;
  return table.add(kViTRest)
      .add(kViTBlock, "blocks.#.", "vit.encoder.layer.#.")
      .add(kViTBlock, "decoder_blocks.#.", "decoder.decoder_layers.#.")
      .add(kViTBlock5, "blocks.#.", "vit.layers.#.")
      .add(kViTBlock5, "decoder_blocks.#.", "decoder.decoder_layers.#.")
      // What save_pretrained of transformers 5.24 makes of the decoder's names.
      .add(kViTBlock, "decoder_blocks.#.", "decoder.decoder_encoder.layer.#.");
}

Table swin_table() {
  Table table;
  return table.add(kSwinRest)
      .add(kSwinBlock, "encoder.layers.#.blocks.#.", "swin.encoder.layers.#.blocks.#.")
      .add(kSwinBlock5, "encoder.layers.#.blocks.#.", "swin.encoder.layers.#.blocks.#.");
}

bool any_name(const io::Tensors& tensors, std::string_view part) {
  return std::any_of(tensors.begin(), tensors.end(),
                     [&](const auto& item) { return item.first.find(part) != std::string::npos; });
}

const std::array<const char*, 3> kThirds{"query", "key", "value"};

/// blocks.0.attn.qkv.weight -> blocks.0.attn.{query,key,value}.weight
io::Tensors split_qkv(const io::Tensors& tensors) {
  io::Tensors out;
  for (const auto& [name, tensor] : tensors) {
    const auto at = name.find(".qkv.");
    if (at == std::string::npos) {
      out[name] = tensor;
      continue;
    }
    const auto parts = tensor.chunk(3, 0);
    for (size_t i = 0; i < 3; ++i)
      out[str(name.substr(0, at + 1), kThirds[i], name.substr(at + 4))] = parts[i].contiguous();
  }
  return out;
}

io::Tensors fuse_qkv(io::Tensors tensors) {
  io::Tensors out;
  for (const auto& [name, tensor] : tensors) {
    const auto at = name.find(".attn.query.");
    if (at == std::string::npos) continue;
    std::vector<at::Tensor> parts;
    std::string ending = name.substr(at + std::string_view(".attn.query").size());
    for (const char* third : kThirds) {
      const auto found = tensors.find(str(name.substr(0, at), ".attn.", third, ending));
      if (found != tensors.end() && found->second.sizes() == tensor.sizes()) parts.push_back(found->second);
    }
    if (parts.size() == 3) out[str(name.substr(0, at), ".attn.qkv", ending)] = at::cat(parts);
  }
  for (auto& [name, tensor] : tensors) {
    const bool third = std::any_of(kThirds.begin(), kThirds.end(), [&, &key = name](const char* part) {
      return key.find(str(".attn.", part, ".")) != std::string::npos;
    });
    if (!third) out[name] = std::move(tensor);
  }
  return out;
}

/// layers.<s>.downsample.x -> layers.<s + by>.downsample.x
io::Tensors shift_merging(io::Tensors tensors, int64_t by) {
  io::Tensors out;
  for (auto& [name, tensor] : tensors) {
    std::vector<std::string> found;
    const bool merging = matches(name, "layers.#.downsample.*", found);
    out[merging ? str("layers.", std::stoll(found[0]) + by, ".downsample.", found[1]) : name] =
        std::move(tensor);
  }
  return out;
}

/// timm's Swin keeps its classifier one module deeper.
io::Tensors move_head(io::Tensors tensors, const std::string& from, const std::string& to) {
  for (const char* ending : {"weight", "bias"}) {
    auto node = tensors.extract(from + ending);
    if (node.empty()) continue;
    node.key() = to + ending;
    tensors.insert(std::move(node));
  }
  return tensors;
}

bool is_timm_swin(const io::Tensors& tensors) {
  return tensors.count("layers.1.downsample.norm.weight") &&
         !tensors.count("layers.0.downsample.norm.weight");
}

bool is_swin(const io::Tensors& official) { return any_name(official, "layers.0.blocks.0."); }

constexpr std::string_view kEncoder = "encoder.";

io::Tensors rename(const io::Tensors& tensors, const Table& table, bool from_official) {
  io::Tensors out;
  for (const auto& [name, tensor] : tensors)
    out[table.translate(name, from_official).value_or(name)] = tensor;
  return out;
}

/// transformers' bare models lack the name of the family in front.
io::Tensors with_family(io::Tensors tensors) {
  if (!tensors.count("embeddings.patch_embeddings.projection.weight")) return tensors;
  const std::string family = any_name(tensors, "layers.0.blocks.") ? "swin." : "vit.";
  io::Tensors out;
  for (auto& [name, tensor] : tensors) out[family + name] = std::move(tensor);
  return out;
}

io::Tensors to_timm(const io::Tensors& tensors) {
  io::Tensors out;
  for (const auto& [name, tensor] : tensors)
    out[name.starts_with(kEncoder) ? name.substr(kEncoder.size()) : name] = tensor;
  return is_swin(out) ? move_head(shift_merging(std::move(out), 1), "head.", "head.fc.") : out;
}

}  // namespace

std::vector<std::string> name_formats() { return {"official", "timm", "hf"}; }

io::Tensors with_encoder_prefix(io::Tensors tensors) {
  io::Tensors out;
  for (auto& [name, tensor] : tensors) {
    const bool outside = name.starts_with("decoder") || name.starts_with("head.") ||
                         name.starts_with("fc_norm.") || name.starts_with("predictor.") ||
                         name.starts_with(kEncoder);
    out[outside ? name : str(kEncoder, name)] = std::move(tensor);
  }
  return out;
}

bool is_pretraining_only(const std::string& name) {
  return name.starts_with("decoder") || name.ends_with("mask_token") || name.starts_with("final_proj.") ||
         name.starts_with("label_embs_concat") || name.starts_with("predictor.");
}

bool is_derived(const std::string& name) {
  return name.ends_with("relative_position_index") || name.ends_with("attn_mask");
}

std::string format_of(const io::Tensors& tensors) {
  if (any_name(tensors, "embeddings.patch_embeddings.projection.")) return "hf";
  return is_timm_swin(tensors) ? "timm" : "official";
}

io::Tensors to_official(io::Tensors tensors) {
  const auto& methods = Registry<MethodInfo>::instance();
  for (const auto& name : methods.names())
    if (const auto& convert = methods.get(name).names.to_official; convert && convert(tensors))
      return tensors;
  const std::string format = format_of(tensors);
  if (format == "timm") return move_head(shift_merging(std::move(tensors), -1), "head.fc.", "head.");
  if (format == "official") return tensors;
  tensors = with_family(std::move(tensors));
  const bool swin = any_name(tensors, "swin.");
  return fuse_qkv(rename(tensors, swin ? swin_table() : vit_table(), /*from_official=*/false));
}

io::Tensors from_official(const io::Tensors& tensors, const std::string& format) {
  io::Tensors kept;
  for (const auto& [name, tensor] : tensors)
    if (format == "official" || !is_derived(name)) kept[name] = tensor;
  if (format == "official") return kept;
  if (format == "timm") return to_timm(kept);
  LACUNA_ASSERT(format == "hf");
  if (!is_swin(kept)) return rename(split_qkv(kept), vit_table(), /*from_official=*/true);
  return rename(split_qkv(with_encoder_prefix(std::move(kept))), swin_table(), /*from_official=*/true);
}

}  // namespace lacuna::train
