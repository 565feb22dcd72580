#include "lacuna/nn/motion_transformer.h"

#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/dropout.h"
#include "lacuna/nn/init.h"

namespace lacuna::nn {

namespace {

constexpr double kEps = 1e-5;

/// `linear` as member `number` of a sequence called `name`, as the official names have it.
std::shared_ptr<Linear> numbered(torch::nn::Module& parent, const std::string& name, int number,
                                 std::shared_ptr<Linear> linear) {
  const auto known = parent.named_children();
  const auto sequence = known.contains(name)
                            ? known[name]
                            : parent.register_module(name, std::make_shared<torch::nn::Module>());
  return sequence->register_module(str(number), std::move(linear));
}

/// Where the level and the condition enter: h is normalised, scaled and shifted by them, and projected.
class Style : public torch::nn::Module {
 public:
  Style(const MotionTransformerConfig& config, std::string name)
      : name_(std::move(name)), dropout_(config.dropout) {
    const int64_t dim = config.embed_dim;
    emb_ = numbered(*this, "emb_layers", 1, std::make_shared<Linear>(dim, 2 * dim));
    norm_ = register_module("norm", std::make_shared<LayerNorm>(dim, kEps));
    out_ = numbered(*this, "out_layers", 2, std::make_shared<Linear>(dim, dim));
  }

  /// h [B, L, C], emb [B, C] after its SiLU.
  Tensor forward(const Tensor& h, const Tensor& emb, Draws* draws) const {
    const auto parts = emb_->forward(emb).unsqueeze(1).chunk(2, 2);  // scale, shift: [B, 1, C]
    const auto styled = at::silu(norm_->forward(h) * (1 + parts[0]) + parts[1]);
    return out_->forward(dropout(styled, dropout_, name_ + ".dropout", draws));
  }

 private:
  std::string name_;
  double dropout_;
  std::shared_ptr<Linear> emb_, out_;
  std::shared_ptr<LayerNorm> norm_;
};

class MotionAttention : public torch::nn::Module {
 public:
  MotionAttention(const MotionTransformerConfig& config, const std::string& name)
      : name_(name), num_heads_(config.num_heads), dropout_(config.dropout) {
    const int64_t dim = config.embed_dim;
    norm_ = register_module("norm", std::make_shared<LayerNorm>(dim, kEps));
    query_ = register_module("query", std::make_shared<Linear>(dim, dim, false));
    key_ = register_module("key", std::make_shared<Linear>(dim, dim, false));
    value_ = register_module("value", std::make_shared<Linear>(dim, dim, false));
    style_ = register_module("proj_out", std::make_shared<Style>(config, name + ".proj_out"));
  }

  Tensor forward(const Tensor& x, const Tensor& emb, Draws* draws) const {
    const int64_t B = x.size(0), L = x.size(1), C = x.size(2);
    const auto h = norm_->forward(x);
    const auto heads = [&](const Tensor& t) {  // [B, heads, L, C / heads]
      return t.view({B, L, num_heads_, C / num_heads_}).transpose(1, 2);
    };
    const auto logits = at::matmul(heads(query_->forward(h)), heads(key_->forward(h)).transpose(2, 3)) /
                        std::sqrt(static_cast<double>(C / num_heads_));
    const auto weight = dropout(logits.softmax(-1), dropout_, name_ + ".dropout", draws);
    const auto y = at::matmul(weight, heads(value_->forward(h))).transpose(1, 2).reshape({B, L, C});
    return x + style_->forward(y, emb, draws);
  }

 private:
  std::string name_;
  int64_t num_heads_;
  double dropout_;
  std::shared_ptr<LayerNorm> norm_;
  std::shared_ptr<Linear> query_, key_, value_;
  std::shared_ptr<Style> style_;
};

/// No norm before linear1, as officially.
class MotionFeedForward : public torch::nn::Module {
 public:
  MotionFeedForward(const MotionTransformerConfig& config, const std::string& name)
      : name_(name), dropout_(config.dropout) {
    linear1_ = register_module("linear1", std::make_shared<Linear>(config.embed_dim, config.mlp_dim));
    linear2_ = register_module("linear2", std::make_shared<Linear>(config.mlp_dim, config.embed_dim));
    style_ = register_module("proj_out", std::make_shared<Style>(config, name + ".proj_out"));
  }

  Tensor forward(const Tensor& x, const Tensor& emb, Draws* draws) const {
    const auto hidden = dropout(at::gelu(linear1_->forward(x)), dropout_, name_ + ".dropout", draws);
    return x + style_->forward(linear2_->forward(hidden), emb, draws);
  }

 private:
  std::string name_;
  double dropout_;
  std::shared_ptr<Linear> linear1_, linear2_;
  std::shared_ptr<Style> style_;
};

}  // namespace

class MotionBlock : public torch::nn::Module {
 public:
  MotionBlock(const MotionTransformerConfig& config, const std::string& name) {
    attention_ = register_module("sa_block", std::make_shared<MotionAttention>(config, name + ".sa_block"));
    feed_forward_ = register_module("ffn", std::make_shared<MotionFeedForward>(config, name + ".ffn"));
  }
  Tensor forward(const Tensor& x, const Tensor& emb, Draws* draws) const {
    return feed_forward_->forward(attention_->forward(x, emb, draws), emb, draws);
  }

 private:
  std::shared_ptr<MotionAttention> attention_;
  std::shared_ptr<MotionFeedForward> feed_forward_;
};

void MotionTransformerConfig::fields(Fields& f) {
  f("joints", joints, "joints of the skeleton without its root; taken from the data").range(1, 10000);
  f("embed_dim", embed_dim, "width").range(2);
  f("depth", depth, "blocks, an even number: the first half is added to the second").range(2);
  f("num_heads", num_heads, "attention heads").range(1);
  f("mlp_dim", mlp_dim, "width inside the feed-forward layers").range(1);
  f("dropout", dropout, "of attention weights, hidden units and styles").range(0, 0.99);
  f("max_period", max_period, "of the slowest wave of the level's embedding").range(1);
}

void MotionTransformerConfig::check() const {
  if (depth % 2 != 0)
    fail(str("encoder.depth ", depth), "each block of the first half is added to one of the second",
         str("use ", depth + 1));
  if (embed_dim % num_heads != 0)
    fail(str("encoder.num_heads ", num_heads), str("does not divide encoder.embed_dim ", embed_dim),
         "choose a divisor");
}

MotionTransformer::MotionTransformer(const MotionTransformerConfig& config, int64_t rows) : config_(config) {
  const int64_t dim = config.embed_dim, values = 3 * config.joints;
  sequence_embedding_ = register_parameter("sequence_embedding", torch::zeros({rows, dim}));
  joint_embed_ = register_module("joint_embed", std::make_shared<Linear>(values, dim));
  cond_embed_ = register_module("cond_embed", std::make_shared<Linear>(values * rows, dim));
  time_in_ = numbered(*this, "time_embed", 0, std::make_shared<Linear>(dim, dim));
  time_out_ = numbered(*this, "time_embed", 2, std::make_shared<Linear>(dim, dim));
  const auto list = register_module("temporal_decoder_blocks", std::make_shared<torch::nn::Module>());
  for (int64_t i = 0; i < config.depth; ++i)
    blocks_.push_back(list->register_module(
        str(i), std::make_shared<MotionBlock>(config, str("temporal_decoder_blocks.", i))));
  out_ = register_module("out", std::make_shared<Linear>(dim, values));
}

void MotionTransformer::initialize(Draws& draws) {
  const torch::NoGradGuard no_grad;
  normal_(sequence_embedding_, 1, draws, "sequence_embedding");
  for (const auto& item : named_modules()) {
    const auto* linear = dynamic_cast<Linear*>(item.value().get());
    if (linear == nullptr) continue;
    const auto& name = item.key();
    if (name == "out" || name.ends_with("linear2") || name.ends_with("out_layers.2")) continue;  // zero
    default_conv_init_(linear->weight, linear->bias, draws, name);
  }
}

Tensor MotionTransformer::forward(const Tensor& x, const Tensor& level, const Condition& condition,
                                  Draws* draws) const {
  return out_->forward(hidden(x, level, condition, draws));
}

Tensor MotionTransformer::hidden(const Tensor& x, const Tensor& level, const Condition& condition,
                                 Draws* draws) const {
  const auto waves = level_embedding(level, config_.embed_dim, config_.max_period).to(x.device());
  auto emb = time_out_->forward(at::silu(time_in_->forward(waves)));  // [B, C]
  if (condition.coefficients.defined()) {
    const auto told = cond_embed_->forward(condition.coefficients.flatten(1));
    emb = emb + (condition.rows.defined() ? told * condition.rows.to(told).unsqueeze(1) : told);
  }
  emb = at::silu(emb);  // every style begins with it

  auto h = joint_embed_->forward(x) + sequence_embedding_;  // [B, L, C]
  std::vector<Tensor> skips;
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const bool first_half = i < blocks_.size() / 2;
    if (first_half) skips.push_back(h);
    h = blocks_[i]->forward(h, emb, draws);
    if (first_half) continue;
    h = h + skips.back();
    skips.pop_back();
  }
  return h;
}

Tensor level_embedding(const Tensor& level, int64_t dim, double max_period) {
  const int64_t half = dim / 2;
  const auto frequency =
      at::exp(at::arange(half, at::kFloat) * (-std::log(max_period) / static_cast<double>(half)));
  const auto angle = level.to(at::kCPU, at::kFloat).unsqueeze(1) * frequency;
  auto waves = at::cat({angle.cos(), angle.sin()}, 1);
  if (dim % 2 != 0) waves = at::cat({waves, at::zeros({level.size(0), 1})}, 1);
  return waves;
}

}  // namespace lacuna::nn
