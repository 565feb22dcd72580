#include "lacuna/nn/attentive.h"

#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/init.h"

namespace lacuna::nn {

namespace {

/// softmax(q k^T / sqrt(d)) v for queries that are not the tokens themselves.
class CrossAttention : public torch::nn::Module {
 public:
  CrossAttention(int64_t dim, int64_t num_heads, bool unused_projection) : num_heads_(num_heads) {
    q_ = register_module("q", std::make_shared<Linear>(dim, dim));
    kv_ = register_module("kv", std::make_shared<Linear>(dim, 2 * dim));
    if (!unused_projection) return;
    const auto proj = register_module("proj", std::make_shared<Linear>(dim, dim));
    for (auto& parameter : proj->parameters()) parameter.requires_grad_(false);
  }
  /// query [B, n, D], tokens [B, N, D] -> [B, n, D].
  Tensor forward(const Tensor& query, const Tensor& tokens) const {
    const int64_t B = query.size(0), n = query.size(1), N = tokens.size(1), D = query.size(2),
                  d = D / num_heads_;
    const auto q = q_->forward(query).view({B, n, num_heads_, d}).transpose(1, 2);
    const auto kv = kv_->forward(tokens).view({B, N, 2, num_heads_, d}).permute({2, 0, 3, 1, 4});
    return at::scaled_dot_product_attention(q, kv[0], kv[1]).transpose(1, 2).reshape({B, n, D});
  }

 private:
  int64_t num_heads_;
  std::shared_ptr<Linear> q_, kv_;
};

}  // namespace

struct AttentiveClassifier::CrossBlock : torch::nn::Module {
  explicit CrossBlock(const AttentiveConfig& config) {
    const int64_t D = config.embed_dim;
    norm1 = register_module("norm1", std::make_shared<LayerNorm>(D, config.norm_eps));
    xattn = register_module("xattn",
                            std::make_shared<CrossAttention>(D, config.num_heads, config.layout == "vjepa"));
    norm2 = register_module("norm2", std::make_shared<LayerNorm>(D, config.norm_eps));
    mlp = register_module(
        "mlp", std::make_shared<Mlp>(D, static_cast<int64_t>(static_cast<double>(D) * config.mlp_ratio)));
  }
  Tensor forward(const Tensor& query, const Tensor& tokens) const {
    const auto mixed = query + xattn->forward(query, norm1->forward(tokens));
    return mixed + mlp->forward(norm2->forward(mixed));
  }
  std::shared_ptr<LayerNorm> norm1, norm2;
  std::shared_ptr<CrossAttention> xattn;
  std::shared_ptr<Mlp> mlp;
};

struct AttentiveClassifier::Pooler : torch::nn::Module {
  explicit Pooler(const AttentiveConfig& config) : tokens_first(config.layout == "vjepa2") {
    query = register_parameter("query_tokens", torch::zeros({1, 1, config.embed_dim}));
    cross = register_module("cross_attention_block", std::make_shared<CrossBlock>(config));
    if (config.depth < 2) return;
    const auto list = register_module("blocks", torch::nn::ModuleList());
    for (int64_t i = 0; i + 1 < config.depth; ++i) {
      const BlockConfig block{.dim = config.embed_dim,
                              .num_heads = config.num_heads,
                              .mlp_ratio = config.mlp_ratio,
                              .norm_eps = config.norm_eps};
      blocks.push_back(std::make_shared<Block>(block, str("pooler.blocks.", i)));
      list->push_back(blocks.back());
    }
  }
  /// [B, D]
  Tensor forward(const Tensor& tokens) const {
    const auto own = query.expand({tokens.size(0), -1, -1});
    const auto pooled = tokens_first ? cross->forward(own, run_blocks(blocks, tokens, nullptr))
                                     : run_blocks(blocks, cross->forward(own, tokens), nullptr);
    return pooled.select(1, 0);
  }
  bool tokens_first;
  Tensor query;
  std::shared_ptr<CrossBlock> cross;
  std::vector<std::shared_ptr<Block>> blocks;
};

void check_attentive(const AttentiveConfig& config) {
  if (config.embed_dim % config.num_heads != 0)
    fail(str("eval.attentive.num_heads ", config.num_heads),
         str("does not divide the tokens' width ", config.embed_dim), "choose heads that do");
}

AttentiveClassifier::AttentiveClassifier(const AttentiveConfig& config) : init_std_(config.init_std) {
  pooler_ = register_module("pooler", std::make_shared<Pooler>(config));
  linear_ = register_module("linear", std::make_shared<Linear>(config.embed_dim, config.num_classes));
}

void AttentiveClassifier::initialize(Draws& draws) {
  for (const auto& child : named_modules())
    if (const auto linear = std::dynamic_pointer_cast<Linear>(child.value()))
      trunc_normal_(linear->weight, init_std_, draws, child.key() + ".weight");
  trunc_normal_(pooler_->query, init_std_, draws, "pooler.query_tokens");
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < pooler_->blocks.size(); ++i)
    for (const auto& end : pooler_->blocks[i]->branch_ends())
      end->weight.div_(std::sqrt(2.0 * static_cast<double>(i + 1)));
  pooler_->cross->mlp->fc2()->weight.div_(std::sqrt(2.0 * static_cast<double>(pooler_->blocks.size() + 1)));
}

Tensor AttentiveClassifier::forward(const Tensor& tokens) const {
  return linear_->forward(pooler_->forward(tokens));
}

}  // namespace lacuna::nn
