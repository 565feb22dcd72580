#include "lacuna/nn/llama.h"

#include <cmath>
#include <numbers>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/activation_checkpoint.h"
#include "lacuna/nn/init.h"

namespace lacuna::nn {

void LlamaConfig::fields(Fields& f) {
  f("arch", arch, "llama, or a size of the paper, which fills what is not given")
      .choices({"llama", "meap_0.1b", "meap_0.3b", "meap_0.5b", "meap_1b"});
  f("vocab_size", vocab_size, "tokens; filled from the tokenizer").range(1, 1 << 24);
  f("context", context, "tokens of a text").range(1, 1 << 24);
  f("embed_dim", embed_dim, "width H").range(1);
  f("depth", depth, "layers").range(1);
  f("num_heads", num_heads, "heads of queries").range(1);
  f("num_kv_heads", num_kv_heads, "heads of keys and values, each for several of queries").range(1);
  f("mlp_dim", mlp_dim, "width of the gated layers").range(1);
  f("head_dim", head_dim, "width of a head; 0: embed_dim / num_heads").range(0);
  f("norm_eps", norm_eps, "added to the mean square before its root").range(0);
  f("rope_base", rope_base, "base of the rotary positions' wave lengths").range(1);
  f("rope_scaling", rope_scaling,
    "how wave lengths are stretched: linear by rope_factor, or as Llama 3.1 does")
      .choices({"none", "linear", "llama3"});
  f("rope_factor", rope_factor, "how far they are stretched").range(1);
  f("rope_low", rope_low, "llama3: waves longer than rope_original / rope_low are stretched in full")
      .range(0);
  f("rope_high", rope_high, "llama3: waves shorter than rope_original / rope_high are left").range(0);
  f("rope_original", rope_original, "llama3: context before the stretching").range(1);
  f("activation", activation, "of the gate").choices({"silu", "gelu", "gelu_tanh", "relu"});
  f("tie_embeddings", tie_embeddings, "the head is the table of embeddings");
  f("attention_bias", attention_bias, "biases of queries, keys, values and output");
  f("mlp_bias", mlp_bias, "biases of the gated layers");
}

void LlamaConfig::resolve(const ConfigTable& table, const std::string& prefix) {
  struct Size {
    const char* name;
    int64_t depth, heads, groups, dim, mlp;
  };
  for (const auto& size :
       {Size{"meap_0.1b", 12, 12, 2, 768, 2048}, Size{"meap_0.3b", 24, 16, 2, 1024, 2736},
        Size{"meap_0.5b", 24, 16, 2, 1024, 4864}, Size{"meap_1b", 24, 32, 2, 2048, 5632}}) {
    if (arch != size.name) continue;
    const auto fill = [&](const char* key, int64_t& value, int64_t wanted) {
      if (!table.is_set(prefix + "." + key)) value = wanted;
    };
    fill("depth", depth, size.depth);
    fill("num_heads", num_heads, size.heads);
    fill("num_kv_heads", num_kv_heads, size.groups);
    fill("embed_dim", embed_dim, size.dim);
    fill("mlp_dim", mlp_dim, size.mlp);
  }
  if (head_dim == 0 && embed_dim % num_heads != 0)
    fail(str(prefix, ".embed_dim ", embed_dim), str("is no multiple of num_heads ", num_heads),
         "change one of them, or give head_dim");
  if (head_width() % 2 != 0)
    fail(str(prefix, ": heads of ", head_width()), "can't be turned in pairs", "use an even width");
  if (num_heads % num_kv_heads != 0)
    fail(str(prefix, ".num_heads ", num_heads), str("is no multiple of num_kv_heads ", num_kv_heads),
         "change one of them");
  if (rope_scaling == "llama3" && rope_high <= rope_low)
    fail(str(prefix, ".rope_high ", rope_high), str("is not above rope_low ", rope_low), "raise it");
}

RmsNorm::RmsNorm(int64_t dim, double eps) : eps_(eps) {
  weight = register_parameter("weight", torch::ones({dim}));
}

Tensor RmsNorm::forward(const Tensor& x) const {
  const auto wide = x.to(torch::kFloat);
  return (wide * (wide.square().mean(-1, true) + eps_).rsqrt()).to(x.scalar_type()) * weight;
}

namespace {

/// [B, N, T, d] turned: (a, b) halves -> (a cos - b sin, b cos + a sin).
Tensor rotated(const Tensor& x, const Rotation& rotation) {
  const auto halves = x.chunk(2, -1);
  const auto cos = rotation.cos.to(x.scalar_type()), sin = rotation.sin.to(x.scalar_type());
  return torch::cat({halves[0] * cos - halves[1] * sin, halves[1] * cos + halves[0] * sin}, -1);
}

/// [B, G, S, d] -> [B, G * times, S, d], each head repeated.
Tensor repeated(const Tensor& x, int64_t times) {
  if (times == 1) return x;
  return x.unsqueeze(2).expand({-1, -1, times, -1, -1}).flatten(1, 2);
}

Tensor activated(const Tensor& x, const std::string& name) {
  if (name == "silu") return torch::silu(x);
  if (name == "relu") return torch::relu(x);
  return at::gelu(x, name == "gelu_tanh" ? "tanh" : "none");
}

class LlamaAttention : public torch::nn::Module {
 public:
  explicit LlamaAttention(const LlamaConfig& config)
      : heads_(config.num_heads), groups_(config.num_kv_heads), width_(config.head_width()) {
    const int64_t H = config.embed_dim;
    const bool bias = config.attention_bias;
    q_ = register_module("q_proj", std::make_shared<Linear>(H, heads_ * width_, bias));
    k_ = register_module("k_proj", std::make_shared<Linear>(H, groups_ * width_, bias));
    v_ = register_module("v_proj", std::make_shared<Linear>(H, groups_ * width_, bias));
    o_ = register_module("o_proj", std::make_shared<Linear>(heads_ * width_, H, bias));
  }

  /// x [B, T, H]; the cache's layer holds what came before and takes what comes now.
  Tensor forward(const Tensor& x, const Rotation& rotation, Tensor* keys, Tensor* values) const {
    auto [q, k, v] = split(x, rotation);
    const int64_t before = keys && keys->defined() ? keys->size(2) : 0;
    if (keys) {
      k = *keys = before > 0 ? torch::cat({*keys, k}, 2) : k;
      v = *values = before > 0 ? torch::cat({*values, v}, 2) : v;
    }
    std::optional<Tensor> mask;
    const int64_t T = q.size(2);
    if (before > 0 && T > 1)  // several new tokens behind old ones: each sees those up to itself
      mask = torch::ones({T, before + T}, torch::TensorOptions(torch::kBool).device(q.device())).tril(before);
    const auto out = at::scaled_dot_product_attention(
        q, repeated(k, heads_ / groups_), repeated(v, heads_ / groups_), mask, 0.0, before == 0 && T > 1);
    return o_->forward(out.transpose(1, 2).flatten(2));
  }

  /// [B, heads, T, T]
  Tensor weights(const Tensor& x, const Rotation& rotation) const {
    const auto [q, k, v] = split(x, rotation);
    const auto scores =
        q.matmul(repeated(k, heads_ / groups_).transpose(2, 3)) / std::sqrt(static_cast<double>(width_));
    const int64_t T = q.size(2);
    const auto later = torch::ones({T, T}, torch::TensorOptions(torch::kBool).device(q.device())).triu(1);
    return scores.masked_fill(later, -INFINITY).softmax(-1);
  }

 private:
  std::tuple<Tensor, Tensor, Tensor> split(const Tensor& x, const Rotation& rotation) const {
    const auto by_head = [&](const Linear& linear) {
      return linear.forward(x).unflatten(-1, {-1, width_}).transpose(1, 2);  // [B, N, T, d]
    };
    return {rotated(by_head(*q_), rotation), rotated(by_head(*k_), rotation), by_head(*v_)};
  }

  int64_t heads_, groups_, width_;
  std::shared_ptr<Linear> q_, k_, v_, o_;
};

class LlamaMlp : public torch::nn::Module {
 public:
  explicit LlamaMlp(const LlamaConfig& config) : activation_(config.activation) {
    const auto make = [&](const char* name, int64_t in, int64_t out) {
      return register_module(name, std::make_shared<Linear>(in, out, config.mlp_bias));
    };
    gate_ = make("gate_proj", config.embed_dim, config.mlp_dim);
    up_ = make("up_proj", config.embed_dim, config.mlp_dim);
    down_ = make("down_proj", config.mlp_dim, config.embed_dim);
  }
  Tensor forward(const Tensor& x) const {
    return down_->forward(activated(gate_->forward(x), activation_) * up_->forward(x));
  }

 private:
  std::string activation_;
  std::shared_ptr<Linear> gate_, up_, down_;
};

}  // namespace

class LlamaLayer : public torch::nn::Module {
 public:
  explicit LlamaLayer(const LlamaConfig& config) {
    input_norm_ =
        register_module("input_layernorm", std::make_shared<RmsNorm>(config.embed_dim, config.norm_eps));
    attention_ = register_module("self_attn", std::make_shared<LlamaAttention>(config));
    mlp_norm_ = register_module("post_attention_layernorm",
                                std::make_shared<RmsNorm>(config.embed_dim, config.norm_eps));
    mlp_ = register_module("mlp", std::make_shared<LlamaMlp>(config));
  }
  Tensor forward(const Tensor& x, const Rotation& rotation, Tensor* keys = nullptr,
                 Tensor* values = nullptr) const {
    const auto seen = x + attention_->forward(input_norm_->forward(x), rotation, keys, values);
    return seen + mlp_->forward(mlp_norm_->forward(seen));
  }
  Tensor attention(const Tensor& x, const Rotation& rotation) const {
    return attention_->weights(input_norm_->forward(x), rotation);
  }

 private:
  std::shared_ptr<RmsNorm> input_norm_, mlp_norm_;
  std::shared_ptr<LlamaAttention> attention_;
  std::shared_ptr<LlamaMlp> mlp_;
};

namespace {

/// What a number of modules in a list are called by: "0", "1", ...
class Numbered : public torch::nn::Module {
 public:
  template <class Part>
  void add(const std::shared_ptr<Part>& part) {
    register_module(std::to_string(children().size()), part);
  }
};

/// A table of embeddings [V, H].
class Table : public torch::nn::Module {
 public:
  Table(int64_t rows, int64_t dim) { weight = register_parameter("weight", torch::zeros({rows, dim})); }
  Tensor weight;
};

/// A module whose parts are named from outside.
class Holder : public torch::nn::Module {};

Tensor rotary_frequencies(const LlamaConfig& config) {
  const int64_t d = config.head_width();
  const auto exponent = torch::arange(0, d, 2, torch::kFloat) / static_cast<double>(d);
  auto out = 1.0 / torch::pow(torch::tensor(static_cast<float>(config.rope_base)), exponent);
  if (config.rope_scaling == "linear") return out / config.rope_factor;
  if (config.rope_scaling == "none") return out;
  const auto original = static_cast<double>(config.rope_original);
  const auto wave = 2 * std::numbers::pi / out;
  const auto smooth = (original / wave - config.rope_low) / (config.rope_high - config.rope_low);
  const auto stretched = out / config.rope_factor;
  const auto between = (1 - smooth) * stretched + smooth * out;
  out = torch::where(wave > original / config.rope_low, stretched, out);
  return torch::where((wave <= original / config.rope_low) & (wave >= original / config.rope_high), between,
                      out);
}

}  // namespace

Llama::Llama(const LlamaConfig& config) : config_(config), frequencies_(rotary_frequencies(config)) {
  const auto model = std::make_shared<Holder>();
  const auto table = std::make_shared<Table>(config.vocab_size, config.embed_dim);
  embeddings_ = model->register_module("embed_tokens", table)->weight;
  const auto layers = model->register_module("layers", std::make_shared<Numbered>());
  for (int64_t i = 0; i < config.depth; ++i) {
    layers_.push_back(std::make_shared<LlamaLayer>(config));
    layers->add(layers_.back());
  }
  norm_ = model->register_module("norm", std::make_shared<RmsNorm>(config.embed_dim, config.norm_eps));
  model_ = register_module("model", model);
  if (!config.tie_embeddings)
    head_ = register_module("lm_head", std::make_shared<Linear>(config.embed_dim, config.vocab_size, false));
}

void Llama::initialize(Draws& draws) {
  const auto H = static_cast<double>(config_.embed_dim);
  const double wide = std::sqrt(2 / (5 * H)),
               narrow = 1 / (std::sqrt(H) * static_cast<double>(config_.depth));
  for (const auto& item : named_parameters()) {
    const auto& name = item.key();
    if (item.value().dim() < 2) continue;  // norms are 1, biases 0
    const bool end = name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
    normal_(item.value(), end ? narrow : wide, draws, name);
  }
}

Rotation Llama::rotation(int64_t begin, int64_t end, const Tensor& like) const {
  const auto angles = torch::outer(torch::arange(begin, end, torch::kFloat), frequencies_);  // [T, d/2]
  return {angles.cos().to(like.device()), angles.sin().to(like.device())};
}

Tensor Llama::hidden(const Tensor& ids, LlamaCache* cache) const {
  auto x = torch::embedding(embeddings_, ids);  // [B, T, H]
  const int64_t before = cache ? cache->length() : 0;
  const auto turn = rotation(before, before + ids.size(1), x);
  if (cache && cache->keys.empty()) {
    cache->keys.resize(layers_.size());
    cache->values.resize(layers_.size());
  }
  for (size_t i = 0; i < layers_.size(); ++i) {
    const auto& layer = *layers_[i];
    if (cache)
      x = layer.forward(x, turn, &cache->keys[i], &cache->values[i]);
    else
      x = run_block(
          [&](const std::vector<Tensor>& in) {
            return layer.forward(in[0], {in[1], in[2]});
          },
          {x, turn.cos, turn.sin});
  }
  return norm_->forward(x);
}

Tensor Llama::logits(const Tensor& hidden) const {
  return head_ ? head_->forward(hidden) : at::linear(hidden, embeddings_);
}

Attentions Llama::attentions(const Tensor& ids) const {
  auto x = torch::embedding(embeddings_, ids);
  const auto turn = rotation(0, ids.size(1), x);
  Attentions out;
  for (const auto& layer : layers_) {
    out.push_back(layer->attention(x, turn));
    x = layer->forward(x, turn);
  }
  return out;
}

}  // namespace lacuna::nn
