#include "lacuna/method/speech_targets_names.h"

#include <algorithm>

#include "lacuna/core/error.h"

namespace lacuna {

namespace {

using Tensors = WeightNames::Tensors;
using Table = std::vector<std::pair<std::string, std::string>>;

// Part of an official name -> the same part in transformers' HubertModel. Longer parts first.
const Table kHf = {
    {"mask_emb", "masked_spec_embed"},
    {"post_extract_proj.", "feature_projection.projection."},
    {"encoder.pos_conv.0.weight_g", "encoder.pos_conv_embed.conv.parametrizations.weight.original0"},
    {"encoder.pos_conv.0.weight_v", "encoder.pos_conv_embed.conv.parametrizations.weight.original1"},
    {"encoder.pos_conv.0.", "encoder.pos_conv_embed.conv."},
    {".self_attn_layer_norm.", ".layer_norm."},
    {".self_attn.", ".attention."},
    {".fc1.", ".feed_forward.intermediate_dense."},
    {".fc2.", ".feed_forward.output_dense."}};

// As older versions write them, and torchaudio. Theirs -> transformers'.
const Table kVariants = {{"wav2vec2.encoder.", "encoder."},
                         {"wav2vec2.feature_extractor.", "feature_extractor."},
                         {"hubert.", ""},
                         {"encoder.feature_projection.", "feature_projection."},
                         {"encoder.transformer.", "encoder."},
                         {"mask_generator.mask_embedding", "masked_spec_embed"},
                         {"logit_generator.label_embeddings", "label_embs_concat"},
                         {"logit_generator.final_proj.", "final_proj."},
                         {"conv.weight_g", "conv.parametrizations.weight.original0"},
                         {"conv.weight_v", "conv.parametrizations.weight.original1"}};

constexpr int64_t kHeadWidth = 64;  // of Base, Large and X-Large

std::string replaced(std::string name, const std::string& from, const std::string& to) {
  const auto at = name.find(from);
  return at == std::string::npos ? name : name.replace(at, from.size(), to);
}

/// "feature_extractor.conv_layers.3.layer_norm.weight": its number and what follows it.
bool front_end(const std::string& name, std::string& number, std::string& rest) {
  const std::string prefix = "feature_extractor.conv_layers.";
  if (!name.starts_with(prefix)) return false;
  const auto dot = name.find('.', prefix.size());
  number = name.substr(0, dot), rest = name.substr(dot + 1);
  return true;
}

bool has_layer_norms(const Tensors& tensors) {
  return tensors.count("feature_extractor.conv_layers.1.2.1.weight") != 0 ||
         tensors.count("feature_extractor.conv_layers.1.layer_norm.weight") != 0;
}

std::string official_name(std::string name, bool layer_norms) {
  std::string number, rest;
  if (front_end(name, number, rest)) {
    rest = replaced(rest, "conv.", "0.");
    return number + "." + replaced(rest, "layer_norm.", layer_norms ? "2.1." : "2.");
  }
  if (name.starts_with("feature_projection.layer_norm."))
    return name.substr(std::string("feature_projection.").size());
  if (name.starts_with("encoder.layer_norm.")) return name;
  for (const auto& [ours, theirs] : kHf) name = replaced(name, theirs, ours);
  return name;
}

std::string hf_name(std::string name, bool layer_norms) {
  std::string number, rest;
  if (front_end(name, number, rest)) {
    if (rest.starts_with("0.")) return number + ".conv." + rest.substr(2);
    return number + ".layer_norm." + rest.substr(layer_norms ? 4 : 2);
  }
  if (name.starts_with("layer_norm.")) return "feature_projection." + name;
  for (const auto& [ours, theirs] : kHf) name = replaced(name, ours, theirs);
  return name;
}

bool to_official(Tensors& tensors) {
  Tensors plain;
  bool foreign = false;
  for (const auto& [name, tensor] : tensors) {
    auto common = name;
    for (const auto& [theirs, ours] : kVariants) common = replaced(common, theirs, ours);
    foreign |= common.starts_with("feature_projection.projection.");
    plain[common] = tensor;
  }
  if (!foreign) return false;
  Tensors out;
  for (const auto& [name, tensor] : plain) out[official_name(name, has_layer_norms(plain))] = tensor;
  tensors = std::move(out);
  return true;
}

Tensors from_official(const Tensors& tensors, const std::string& format) {
  if (format != "hf") fail(str("format ", format), "holds no HuBERT", "export with --format hf or official");
  Tensors out;
  for (const auto& [name, tensor] : tensors)
    if (!name.starts_with("final_proj.") && !name.starts_with("label_embs"))
      out[hf_name(name, has_layer_norms(tensors))] = tensor;
  return out;
}

/// The front-end from its kernels; strides are not in the weights: those of every released model.
std::string conv_layers(const Tensors& tensors) {
  std::string text;
  for (int64_t i = 0;; ++i) {
    const auto found = tensors.find(str("feature_extractor.conv_layers.", i, ".0.weight"));
    if (found == tensors.end()) return text;
    text += str(i > 0 ? " + " : "", "[(", found->second.size(0), ",", found->second.size(2), ",",
                i == 0 ? 5 : 2, ")]");
  }
}

Json infer(const Tensors& tensors) {
  const auto mask = tensors.find("mask_emb"), taps = tensors.find("encoder.pos_conv.0.weight_v"),
             fc1 = tensors.find("encoder.layers.0.fc1.weight");
  if (mask == tensors.end() || taps == tensors.end() || fc1 == tensors.end()) return nullptr;
  const int64_t D = mask->second.size(0);
  int64_t depth = 0;
  while (tensors.count(str("encoder.layers.", depth, ".fc1.weight")) != 0) ++depth;
  const bool large = has_layer_norms(tensors);
  Json out = {{"encoder",
               {{"arch", "hubert"},
                {"conv_layers", conv_layers(tensors)},
                {"conv_norm", large ? "layer" : "group"},
                {"conv_bias", tensors.count("feature_extractor.conv_layers.0.0.bias") != 0},
                {"embed_dim", D},
                {"depth", depth},
                {"num_heads", std::max<int64_t>(1, D / kHeadWidth)},
                {"mlp_ratio", static_cast<double>(fc1->second.size(0)) / static_cast<double>(D)},
                {"pre_norm", large},
                {"conv_pos", taps->second.size(2)},
                {"conv_pos_groups", D / taps->second.size(1)}}},
              {"audio", {{"normalize", large}}}};
  const auto classes = tensors.find("label_embs_concat"), head = tensors.find("final_proj.weight");
  if (classes == tensors.end() || head == tensors.end()) return out;
  const int64_t E = classes->second.size(1), sets = std::max<int64_t>(1, head->second.size(0) / E);
  out["predictor"] = {{"final_dim", E}};
  out["target"] = {
      {"num_classes", std::vector<int64_t>(static_cast<size_t>(sets), classes->second.size(0) / sets)}};
  return out;
}

}  // namespace

WeightNames speech_weight_names() { return {to_official, from_official, infer}; }

}  // namespace lacuna
