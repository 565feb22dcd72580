#pragma once
// Llama (Touvron et al., arXiv 2302.13971, 2307.09288): a decoder of texts with rotary positions, grouped
// queries, RMSNorm and SwiGLU, under the names of transformers' LlamaForCausalLM.

#include <memory>
#include <string>
#include <vector>

#include "lacuna/nn/layers.h"

namespace lacuna::nn {

/// Keys `encoder.*`.
struct LlamaConfig {
  std::string arch = "llama";
  int64_t vocab_size = 32064, context = 4096;
  int64_t embed_dim = 2048, depth = 24, num_heads = 32, num_kv_heads = 2, mlp_dim = 5632;
  int64_t head_dim = 0;  ///< 0: embed_dim / num_heads
  double norm_eps = 1e-5, rope_base = 10000;
  std::string rope_scaling = "none";  ///< none | linear | llama3
  double rope_factor = 8, rope_low = 1, rope_high = 4;
  int64_t rope_original = 8192;
  std::string activation = "silu";
  bool tie_embeddings = false, attention_bias = false, mlp_bias = false;

  void fields(Fields& f);
  /// Fills sizes from `arch` (meap_0.1b, ...) where the user gave none; refuses what can't be built.
  void resolve(const ConfigTable& table, const std::string& prefix);
  int64_t head_width() const { return head_dim > 0 ? head_dim : embed_dim / num_heads; }
};

/// x * rsqrt(mean(x^2) + eps) * weight over the last dimension, in float32. weight [dim] = 1.
class RmsNorm : public torch::nn::Module {
 public:
  RmsNorm(int64_t dim, double eps);
  Tensor forward(const Tensor& x) const;
  Tensor weight;

 private:
  double eps_;
};

/// Keys and values of the tokens that were read so far, for generation.
struct LlamaCache {
  std::vector<Tensor> keys, values;  ///< by layer [B, G, S, d]
  int64_t length() const { return keys.empty() || !keys.front().defined() ? 0 : keys.front().size(2); }
};

/// What attention looked at, by layer: [B, heads, T, T], rows sum to 1.
using Attentions = std::vector<Tensor>;

class LlamaLayer;

/// B texts of T tokens, V tokens in the vocabulary, H = embed_dim.
class Llama : public torch::nn::Module {
 public:
  explicit Llama(const LlamaConfig& config);
  /// lit-gpt's: N(0, sqrt(2 / (5 H))); attention outputs and down projections N(0, 1 / (sqrt(H) depth)).
  void initialize(Draws& draws);

  /// ids [B, T] int64 -> [B, T, H] behind the last norm. With a `cache` the texts go on where it ends, and it
  /// grows.
  Tensor hidden(const Tensor& ids, LlamaCache* cache = nullptr) const;
  /// hidden [..., H] -> [..., V].
  Tensor logits(const Tensor& hidden) const;
  Attentions attentions(const Tensor& ids) const;
  const LlamaConfig& config() const { return config_; }

 private:
  Rotation rotation(int64_t begin, int64_t end, const Tensor& like) const;

  LlamaConfig config_;
  Tensor frequencies_;  // [d/2] float32, no part of a checkpoint
  std::shared_ptr<torch::nn::Module> model_;
  std::shared_ptr<RmsNorm> norm_;
  std::vector<std::shared_ptr<LlamaLayer>> layers_;
  Tensor embeddings_;
  std::shared_ptr<Linear> head_;  // null when tied
};

}  // namespace lacuna::nn
