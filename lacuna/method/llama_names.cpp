#include "lacuna/method/llama_names.h"

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/llama.h"

namespace lacuna {
namespace {

using Tensors = WeightNames::Tensors;

constexpr int64_t kHeadWidth = 64;  // of all models of the paper, and of most others; weights do not tell it

// lit-gpt -> transformers; "#" stands for a layer's number.
const std::vector<std::pair<std::string, std::string>> kRenames = {
    {"lm_head.weight", "lm_head.weight"},
    {"transformer.wte.weight", "model.embed_tokens.weight"},
    {"transformer.ln_f.weight", "model.norm.weight"},
    {"transformer.h.#.norm_1.weight", "model.layers.#.input_layernorm.weight"},
    {"transformer.h.#.norm_2.weight", "model.layers.#.post_attention_layernorm.weight"},
    {"transformer.h.#.attn.proj.weight", "model.layers.#.self_attn.o_proj.weight"},
    {"transformer.h.#.mlp.swiglu.w1.weight", "model.layers.#.mlp.gate_proj.weight"},
    {"transformer.h.#.mlp.swiglu.w2.weight", "model.layers.#.mlp.up_proj.weight"},
    {"transformer.h.#.mlp.swiglu.w3.weight", "model.layers.#.mlp.down_proj.weight"}};
const std::string kPacked = "transformer.h.#.attn.attn.weight", kAttention = "model.layers.#.self_attn.";

std::string numbered(std::string pattern, int64_t layer) {
  const auto at = pattern.find('#');
  return at == std::string::npos ? pattern : pattern.replace(at, 1, std::to_string(layer));
}

/// How many layers there are whose name `pattern` is present.
int64_t layers_of(const Tensors& tensors, const std::string& pattern) {
  int64_t count = 0;
  while (tensors.count(numbered(pattern, count)) != 0) ++count;
  return count;
}

/// Renames all that the table knows; false when something else is left, other than the packed attention.
void rename(const Tensors& from, Tensors& to, int64_t layers, bool to_ours) {
  for (const auto& [lit, ours] : kRenames)
    for (int64_t i = 0; i < (lit.find('#') == std::string::npos ? 1 : layers); ++i) {
      const auto found = from.find(numbered(to_ours ? lit : ours, i));
      if (found != from.end()) to[numbered(to_ours ? ours : lit, i)] = found->second;
    }
}

/// [(h + 2 g) d, H] -> queries [h d, H], keys and values [g d, H].
std::array<Tensor, 3> unpacked(const Tensor& packed, int64_t query_rows, int64_t width,
                               const std::string& name) {
  const int64_t groups = (packed.size(0) - query_rows) / (2 * width);
  if (groups < 1 || query_rows % (groups * width) != 0 || query_rows + 2 * groups * width != packed.size(0))
    fail(name,
         str("has ", packed.size(0), " rows, which are no heads of ", width, " with ", query_rows,
             " for queries"),
         "convert it to transformers' names with the tool of its repository");
  const auto by_group = packed.unflatten(0, {groups, -1});
  const int64_t queries = query_rows / groups;
  const auto part = [&](int64_t begin, int64_t end) {
    return by_group.slice(1, begin, end).flatten(0, 1).contiguous();
  };
  return {part(0, queries), part(queries, queries + width), part(queries + width, queries + 2 * width)};
}

bool to_official(Tensors& tensors) {
  const int64_t layers = layers_of(tensors, kPacked);
  if (layers == 0) return tensors.count("model.layers.0.self_attn.q_proj.weight") != 0;
  Tensors out;
  rename(tensors, out, layers, true);
  for (int64_t i = 0; i < layers; ++i) {
    const auto name = numbered(kPacked, i);
    const auto output = tensors.find(numbered("transformer.h.#.attn.proj.weight", i));
    if (output == tensors.end()) return false;
    const auto parts = unpacked(tensors.at(name), output->second.size(1), kHeadWidth, name);
    for (size_t k = 0; k < 3; ++k)
      out[numbered(kAttention, i) + std::string(1, "qkv"[k]) + "_proj.weight"] = parts[k];
  }
  tensors = out;
  return true;
}

Tensors from_official(const Tensors& tensors, const std::string& format) {
  if (format == "hf") return tensors;
  fail("export --format " + format, "there is no Llama under these names", "use --format hf or official");
}

Json infer(const Tensors& tensors) {
  const auto table = tensors.find("model.embed_tokens.weight"),
             q = tensors.find("model.layers.0.self_attn.q_proj.weight"),
             k = tensors.find("model.layers.0.self_attn.k_proj.weight"),
             gate = tensors.find("model.layers.0.mlp.gate_proj.weight");
  if (table == tensors.end() || q == tensors.end() || k == tensors.end() || gate == tensors.end())
    return nullptr;
  const int64_t V = table->second.size(0), H = table->second.size(1);
  int64_t width = H >= 4096 ? 128 : kHeadWidth;
  if (q->second.size(0) % width != 0 || k->second.size(0) % width != 0) width = k->second.size(0);
  return {{"encoder",
           {{"arch", "llama"},
            {"vocab_size", V},
            {"embed_dim", H},
            {"depth", layers_of(tensors, "model.layers.#.self_attn.q_proj.weight")},
            {"num_heads", std::max<int64_t>(1, q->second.size(0) / width)},
            {"num_kv_heads", std::max<int64_t>(1, k->second.size(0) / width)},
            {"mlp_dim", gate->second.size(0)},
            {"tie_embeddings", tensors.count("lm_head.weight") == 0},
            {"attention_bias", tensors.count("model.layers.0.self_attn.q_proj.bias") != 0},
            {"mlp_bias", tensors.count("model.layers.0.mlp.gate_proj.bias") != 0}}}};
}

/// transformers' LlamaConfig.
std::map<std::string, Json> describe(const ConfigTable& table, const std::string& /*format*/) {
  nn::LlamaConfig encoder;
  ConfigTable own;
  own.add("encoder", encoder);
  for (const auto& field : own.fields()) own.set(field.key, table.get(field.key), "the weights' config");
  const std::string activation = encoder.activation == "gelu_tanh" ? "gelu_pytorch_tanh" : encoder.activation;
  Json rope = nullptr;
  if (encoder.rope_scaling != "none") {
    rope = {{"rope_type", encoder.rope_scaling}, {"factor", encoder.rope_factor}};
    if (encoder.rope_scaling == "llama3")
      rope.update({{"low_freq_factor", encoder.rope_low},
                   {"high_freq_factor", encoder.rope_high},
                   {"original_max_position_embeddings", encoder.rope_original}});
  }
  return {{"config.json",
           {{"model_type", "llama"},
            {"architectures", {"LlamaForCausalLM"}},
            {"vocab_size", encoder.vocab_size},
            {"hidden_size", encoder.embed_dim},
            {"intermediate_size", encoder.mlp_dim},
            {"num_hidden_layers", encoder.depth},
            {"num_attention_heads", encoder.num_heads},
            {"num_key_value_heads", encoder.num_kv_heads},
            {"head_dim", encoder.head_width()},
            {"max_position_embeddings", encoder.context},
            {"rms_norm_eps", encoder.norm_eps},
            {"rope_theta", encoder.rope_base},
            {"rope_scaling", rope},
            {"hidden_act", activation},
            {"tie_word_embeddings", encoder.tie_embeddings},
            {"attention_bias", encoder.attention_bias},
            {"mlp_bias", encoder.mlp_bias},
            {"torch_dtype", "float32"}}}};
}

}  // namespace

WeightNames llama_weight_names() { return {to_official, from_official, infer, describe}; }

Tensors to_lit_gpt(const Tensors& tensors, int64_t head_width) {
  const int64_t layers = layers_of(tensors, "model.layers.#.self_attn.q_proj.weight");
  Tensors out;
  rename(tensors, out, layers, false);
  for (int64_t i = 0; i < layers; ++i) {
    std::vector<Tensor> parts;
    const int64_t groups = tensors.at(numbered(kAttention, i) + "k_proj.weight").size(0) / head_width;
    for (const char* name : {"q_proj.weight", "k_proj.weight", "v_proj.weight"})
      parts.push_back(tensors.at(numbered(kAttention, i) + name).unflatten(0, {groups, -1}));
    out[numbered(kPacked, i)] = torch::cat(parts, 1).flatten(0, 1).contiguous();
  }
  return out;
}

}  // namespace lacuna
