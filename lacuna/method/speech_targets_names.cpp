#include "lacuna/method/speech_targets_names.h"

#include <algorithm>
#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/hubert.h"

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

// A fine-tuned recogniser: fairseq's names around the encoder's, and transformers' HubertForCTC.
const std::string kInner = "w2v_encoder.w2v_model.", kHead = "w2v_encoder.proj.", kHfHead = "lm_head.";

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

/// transformers' projection stands even where C = D; there it is the identity if we wrote it.
void drop_identity(Tensors& tensors) {
  const auto found = tensors.find("post_extract_proj.weight");
  if (found == tensors.end() || found->second.dim() != 2) return;
  const int64_t C = found->second.size(0);
  const auto bias = tensors.find("post_extract_proj.bias");
  if (C != found->second.size(1) || bias == tensors.end()) return;
  if (!found->second.equal(torch::eye(C, found->second.options())) || bias->second.any().item<bool>()) return;
  tensors.erase(found), tensors.erase("post_extract_proj.bias");
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
  drop_identity(out);
  tensors = std::move(out);
  return true;
}

Tensors from_official(const Tensors& tensors, const std::string& format) {
  if (format != "hf") fail(str("format ", format), "holds no HuBERT", "export with --format hf or official");
  Tensors out;
  for (const auto& [name, tensor] : tensors)
    if (!name.starts_with("final_proj.") && !name.starts_with("label_embs") &&
        !name.starts_with("target_glu."))
      out[hf_name(name, has_layer_norms(tensors))] = tensor;
  const auto mask = tensors.find("mask_emb");
  if (mask != tensors.end() && tensors.count("post_extract_proj.weight") == 0) {
    const int64_t D = mask->second.size(0);
    out["feature_projection.projection.weight"] = torch::eye(D);
    out["feature_projection.projection.bias"] = torch::zeros({D});
  }
  return out;
}

/// HubertForCTC: "hubert." before every name, and the head; its tokens are our classes.
bool ctc_to_official(Tensors& tensors) {
  const auto head = tensors.find(kHfHead + "weight");
  if (head == tensors.end()) return false;
  Tensors inner, out;
  for (const auto& [name, tensor] : tensors) {
    if (name.starts_with(kHfHead))
      out[kHead + name.substr(kHfHead.size())] = tensor;
    else
      inner[name] = tensor;
  }
  if (!to_official(inner)) return false;
  for (const auto& [name, tensor] : inner) out[kInner + name] = tensor;
  tensors = std::move(out);
  return true;
}

Tensors inner_of(const Tensors& tensors) {
  Tensors out;
  for (const auto& [name, tensor] : tensors)
    if (name.starts_with(kInner)) out[name.substr(kInner.size())] = tensor;
  return out;
}

Tensors ctc_from_official(const Tensors& tensors, const std::string& format) {
  Tensors out;
  for (const auto& [name, tensor] : from_official(inner_of(tensors), format)) out["hubert." + name] = tensor;
  for (const auto& [name, tensor] : tensors) {
    if (name.starts_with(kHead)) out[kHfHead + name.substr(kHead.size())] = tensor;
    if (name.ends_with("layer_weights"))
      fail("export --format hf", "HubertForCTC reads the last layer, these weights a weighted sum of all",
           "use --format official");
  }
  return out;
}

/// transformers' HubertConfig and what its feature extractor needs to know.
std::map<std::string, Json> hf_files(const ConfigTable& table, bool recogniser) {
  nn::HubertConfig encoder;
  ConfigTable own;
  own.add("encoder", encoder);
  for (const auto& field : own.fields()) own.set(field.key, table.get(field.key), "the weights' config");
  std::vector<int64_t> dims, kernels, strides;
  for (const auto& layer : encoder.conv())
    dims.push_back(layer.dim), kernels.push_back(layer.kernel), strides.push_back(layer.stride);
  const bool layer_norms = encoder.conv_norm == "layer";
  Json config = {
      {"model_type", "hubert"},
      {"architectures", {recogniser ? "HubertForCTC" : "HubertModel"}},
      {"hidden_size", encoder.embed_dim},
      {"num_hidden_layers", encoder.depth},
      {"num_attention_heads", encoder.num_heads},
      {"intermediate_size", std::llround(static_cast<double>(encoder.embed_dim) * encoder.mlp_ratio)},
      {"hidden_act", encoder.activation},
      {"layer_norm_eps", 1e-5},
      {"feat_extract_norm", layer_norms ? "layer" : "group"},
      {"feat_extract_activation", "gelu"},
      {"feat_proj_layer_norm", true},
      {"conv_dim", dims},
      {"conv_kernel", kernels},
      {"conv_stride", strides},
      {"num_feat_extract_layers", dims.size()},
      {"conv_bias", encoder.conv_bias},
      {"num_conv_pos_embeddings", encoder.conv_pos},
      {"num_conv_pos_embedding_groups", encoder.conv_pos_groups},
      {"do_stable_layer_norm", encoder.pre_norm},
      {"hidden_dropout", encoder.dropout},
      {"attention_dropout", encoder.attention_dropout},
      {"activation_dropout", encoder.activation_dropout},
      {"feat_proj_dropout", encoder.dropout_input},
      {"layerdrop", encoder.layerdrop}};
  std::map<std::string, Json> out;
  if (recogniser) {
    const auto tokens = table.get("head.tokens").get<std::vector<std::string>>();
    config["vocab_size"] = tokens.size() + 1;
    config["pad_token_id"] = 0;  // CTC's blank
    Json vocabulary = {{"<pad>", 0}};
    for (size_t i = 0; i < tokens.size(); ++i) vocabulary[tokens[i]] = i + 1;
    out["vocab.json"] = vocabulary;
  }
  out["config.json"] = config;
  out["preprocessor_config.json"] = {
      {"feature_extractor_type", "Wav2Vec2FeatureExtractor"}, {"feature_size", 1},
      {"sampling_rate", table.get("audio.sample_rate")},      {"padding_value", 0.0},
      {"do_normalize", table.get("audio.normalize")},         {"return_attention_mask", layer_norms}};
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

WeightNames speech_weight_names() {
  return {to_official, from_official, infer,
          [](const ConfigTable& table, const std::string& /*format*/) { return hf_files(table, false); }};
}

WeightNames ctc_weight_names() {
  return {ctc_to_official, ctc_from_official,
          [](const Tensors& tensors) {
            const auto head = tensors.find(kHead + "weight");
            Json out = head == tensors.end() ? Json() : infer(inner_of(tensors));
            if (out.is_null()) return out;
            // Files say how many tokens there are, not which: numbers stand for them.
            std::vector<std::string> tokens;
            for (int64_t i = 1; i < head->second.size(0); ++i) tokens.push_back(str(i));
            out["head"] = {{"tokens", tokens}};
            return out;
          },
          [](const ConfigTable& table, const std::string& /*format*/) { return hf_files(table, true); }};
}

}  // namespace lacuna
