#include "lacuna/nn/beit.h"

#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/activation_checkpoint.h"
#include "lacuna/nn/attention.h"
#include "lacuna/nn/init.h"
#include "lacuna/nn/relative_position.h"
#include "lacuna/nn/vit.h"

namespace lacuna::nn {

namespace {

constexpr double kStd = 0.02;
constexpr const char* kTable = "relative_position_bias_table";
constexpr const char* kIndex = "relative_position_index";

}  // namespace

/// x [B, N, D] -> [B, N, D]; `bias` [heads, N, N] is added to the logits besides the block's own table.
class BeitAttention : public torch::nn::Module {
 public:
  explicit BeitAttention(const BeitConfig& config) : num_heads_(config.num_heads) {
    const int64_t D = config.embed_dim;
    qkv_ = register_module("qkv", std::make_shared<Linear>(D, 3 * D, /*with_bias=*/false));
    if (config.qkv_bias) {
      q_bias_ = register_parameter("q_bias", torch::zeros({D}));
      v_bias_ = register_parameter("v_bias", torch::zeros({D}));
    }
    if (config.use_rel_pos_bias) {
      table_ =
          register_parameter(kTable, torch::zeros({relative_table_rows(config.grid(), true), num_heads_}));
      index_ = register_buffer(kIndex, relative_position_index(config.grid(), true));
    }
    proj_ = register_module("proj", std::make_shared<Linear>(D, D));
  }

  Tensor forward(const Tensor& x, Tensor bias) const {
    Tensor qkv_bias;
    if (q_bias_.defined()) qkv_bias = torch::cat({q_bias_, torch::zeros_like(q_bias_), v_bias_});
    if (table_.defined()) {
      const auto own = relative_position_bias(table_, index_);
      bias = bias.defined() ? bias + own : own;
    }
    return proj_->forward(self_attention(at::linear(x, qkv_->weight, qkv_bias), num_heads_, bias));
  }

  const std::shared_ptr<Linear>& proj() const { return proj_; }

 private:
  int64_t num_heads_;
  std::shared_ptr<Linear> qkv_, proj_;
  Tensor q_bias_, v_bias_, table_, index_;
};

/// x += gamma_1 attn(norm1 x); x += gamma_2 mlp(norm2 x). `name` names its draws.
class BeitBlock : public torch::nn::Module {
 public:
  BeitBlock(const BeitConfig& config, double drop_path, std::string name)
      : drop_path_(drop_path), name_(std::move(name)) {
    const int64_t D = config.embed_dim;
    norm1_ = register_module("norm1", std::make_shared<LayerNorm>(D, config.norm_eps));
    attn_ = register_module("attn", std::make_shared<BeitAttention>(config));
    norm2_ = register_module("norm2", std::make_shared<LayerNorm>(D, config.norm_eps));
    mlp_ = register_module(
        "mlp", std::make_shared<Mlp>(D, static_cast<int64_t>(static_cast<double>(D) * config.mlp_ratio)));
    if (config.init_values > 0) {
      gamma_1_ = register_parameter("gamma_1", torch::full({D}, config.init_values));
      gamma_2_ = register_parameter("gamma_2", torch::full({D}, config.init_values));
    }
  }

  Tensor forward(const Tensor& x, const Tensor& bias, Draws* draws) const {
    const auto scaled = [](const Tensor& branch, const Tensor& gamma) {
      return gamma.defined() ? gamma * branch : branch;
    };
    const auto mixed = x + drop_path(scaled(attn_->forward(norm1_->forward(x), bias), gamma_1_), drop_path_,
                                     name_ + ".drop_path1", draws);
    return mixed + drop_path(scaled(mlp_->forward(norm2_->forward(mixed)), gamma_2_), drop_path_,
                             name_ + ".drop_path2", draws);
  }

  /// Deeper blocks add less to the residual stream: the last weight of each branch is divided
  /// (fix_init_weight).
  void rescale(int64_t layer) const {
    const torch::NoGradGuard no_grad;
    const double divisor = std::sqrt(2.0 * static_cast<double>(layer));
    attn_->proj()->weight.div_(divisor);
    mlp_->fc2()->weight.div_(divisor);
  }

 private:
  double drop_path_;
  std::string name_;
  std::shared_ptr<LayerNorm> norm1_, norm2_;
  std::shared_ptr<BeitAttention> attn_;
  std::shared_ptr<Mlp> mlp_;
  Tensor gamma_1_, gamma_2_;
};

void check_beit(const BeitConfig& config) {
  check_patches(config.img_size, config.patch_size);
  check_heads(config.embed_dim, config.num_heads);
}

Beit::Beit(const BeitConfig& config) : config_(config) {
  check_beit(config);
  const int64_t D = config.embed_dim, L = config.grid().area();
  cls_token_ = register_parameter("cls_token", torch::zeros({1, 1, D}));
  if (config.mask_token) mask_token_ = register_parameter("mask_token", torch::zeros({1, 1, D}));
  if (config.use_abs_pos_emb) pos_embed_ = register_parameter("pos_embed", torch::zeros({1, 1 + L, D}));
  patch_embed_ =
      register_module("patch_embed", std::make_shared<PatchEmbed>(config.in_chans, D, config.patch_size));
  if (config.use_shared_rel_pos_bias) {
    const auto shared = register_module("rel_pos_bias", std::make_shared<torch::nn::Module>());
    shared_table_ = shared->register_parameter(
        kTable, torch::zeros({relative_table_rows(config.grid(), true), config.num_heads}));
    shared_index_ = shared->register_buffer(kIndex, relative_position_index(config.grid(), true));
  }
  const auto list = register_module("blocks", torch::nn::ModuleList());
  for (int64_t i = 0; i < config.depth; ++i) {
    const double share =
        config.depth > 1 ? static_cast<double>(i) / static_cast<double>(config.depth - 1) : 0.0;
    blocks_.push_back(std::make_shared<BeitBlock>(config, config.drop_path * share, str("blocks.", i)));
    list->push_back(blocks_.back());
  }
  auto& last = config.use_mean_pooling ? fc_norm_ : norm_;
  last = register_module(config.use_mean_pooling ? "fc_norm" : "norm",
                         std::make_shared<LayerNorm>(D, config.norm_eps));
}

// Tables and biases start at zero; layer scale and norms as they were built.
void Beit::initialize(Draws& draws) {
  const torch::NoGradGuard no_grad;
  const auto fill = [&](const Tensor& parameter, const std::string& name) {
    trunc_normal_(parameter, kStd, draws, name, config_.init_bound);
  };
  for (const auto& child : named_modules("", /*include_self=*/false))
    if (const auto linear = std::dynamic_pointer_cast<Linear>(child.value()))
      fill(linear->weight, child.key() + ".weight");
  fill(patch_embed_->proj()->weight, "patch_embed.proj.weight");
  patch_embed_->proj()->bias.zero_();
  fill(cls_token_, "cls_token");
  if (config_.mask_token) fill(mask_token_, "mask_token");
  if (config_.use_abs_pos_emb) fill(pos_embed_, "pos_embed");
  for (size_t i = 0; i < blocks_.size(); ++i) blocks_[i]->rescale(static_cast<int64_t>(i) + 1);
}

torch::Tensor Beit::tokens(const torch::Tensor& image, const torch::Tensor& hidden, Draws* draws) const {
  auto patches = patch_embed_->forward(image);
  if (hidden.defined())
    patches = at::where(hidden.flatten(1).unsqueeze(-1), mask_token_.to(patches.dtype()), patches);
  auto x = torch::cat({cls_token_.to(patches.dtype()).expand({image.size(0), -1, -1}), patches}, 1);
  if (pos_embed_.defined()) x = x + pos_embed_;
  Tensor bias;
  if (shared_table_.defined()) bias = relative_position_bias(shared_table_, shared_index_);
  for (const auto& block : blocks_)
    x = run_block([&block = *block, draws](const auto& in) { return block.forward(in[0], in[1], draws); },
                  {x, bias});
  return norm_ ? norm_->forward(x) : x;
}

torch::Tensor Beit::forward(const torch::Tensor& image, const torch::Tensor& hidden, Draws* draws) const {
  return tokens(image, hidden, draws).slice(1, 1);
}

torch::Tensor Beit::pooled(const torch::Tensor& image, const std::string& pool) const {
  const auto x = tokens(image, {}, nullptr);
  return pool == "token" ? x.select(1, 0) : x.slice(1, 1).mean(1);
}

bool Beit::spared_by_decay(const std::string& name) const {
  return name == "pos_embed" || name == "cls_token";
}

}  // namespace lacuna::nn
