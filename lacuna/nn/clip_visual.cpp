#include "lacuna/nn/clip_visual.h"

#include <torch/torch.h>

namespace lacuna::nn {

namespace {

constexpr double kEps = 1e-5;

/// torch.nn.MultiheadAttention's names.
class PackedAttention : public torch::nn::Module {
 public:
  PackedAttention(int64_t dim, int64_t num_heads) : num_heads_(num_heads) {
    weight_ = register_parameter("in_proj_weight", torch::zeros({3 * dim, dim}));
    bias_ = register_parameter("in_proj_bias", torch::zeros({3 * dim}));
    out_ = register_module("out_proj", std::make_shared<Linear>(dim, dim));
  }

  Tensor forward(const Tensor& x) const {
    const int64_t B = x.size(0), N = x.size(1), D = x.size(2);
    const auto qkv =
        at::linear(x, weight_, bias_).view({B, N, 3, num_heads_, D / num_heads_}).permute({2, 0, 3, 1, 4});
    const auto attended = at::scaled_dot_product_attention(qkv[0], qkv[1], qkv[2]);
    return out_->forward(attended.transpose(1, 2).reshape({B, N, D}));
  }

 private:
  int64_t num_heads_;
  Tensor weight_, bias_;
  std::shared_ptr<Linear> out_;
};

}  // namespace

/// Pre-norm, with CLIP's quick GELU x sigmoid(1.702 x).
struct ClipVisual::Block : torch::nn::Module {
  Block(int64_t dim, int64_t num_heads) {
    ln_1 = register_module("ln_1", std::make_shared<LayerNorm>(dim, kEps));
    attn = register_module("attn", std::make_shared<PackedAttention>(dim, num_heads));
    ln_2 = register_module("ln_2", std::make_shared<LayerNorm>(dim, kEps));
    const auto mlp = register_module("mlp", std::make_shared<torch::nn::Module>());
    c_fc = mlp->register_module("c_fc", std::make_shared<Linear>(dim, 4 * dim));
    c_proj = mlp->register_module("c_proj", std::make_shared<Linear>(4 * dim, dim));
  }

  Tensor forward(const Tensor& input) const {
    const auto x = input + attn->forward(ln_1->forward(input));
    const auto hidden = c_fc->forward(ln_2->forward(x));
    return x + c_proj->forward(hidden * torch::sigmoid(1.702 * hidden));
  }

  std::shared_ptr<LayerNorm> ln_1, ln_2;
  std::shared_ptr<PackedAttention> attn;
  std::shared_ptr<Linear> c_fc, c_proj;
};

ClipVisual::ClipVisual(const ClipVisualConfig& config) : config_(config) {
  const int64_t D = config.width;
  class_embedding_ = register_parameter("class_embedding", torch::zeros({D}));
  positional_embedding_ =
      register_parameter("positional_embedding", torch::zeros({1 + config.grid.area(), D}));
  proj_ = register_parameter("proj", torch::zeros({D, config.output_dim}));
  const auto conv = register_module("conv1", std::make_shared<torch::nn::Module>());
  conv1_ = conv->register_parameter("weight", torch::zeros({D, 3, config.patch_size.h, config.patch_size.w}));
  ln_pre_ = register_module("ln_pre", std::make_shared<LayerNorm>(D, kEps));
  const auto transformer = register_module("transformer", std::make_shared<torch::nn::Module>());
  const auto list = transformer->register_module("resblocks", torch::nn::ModuleList());
  for (int64_t i = 0; i < config.depth; ++i) {
    blocks_.push_back(std::make_shared<Block>(D, config.num_heads));
    list->push_back(blocks_.back());
  }
  ln_post_ = register_module("ln_post", std::make_shared<LayerNorm>(D, kEps));
}

Tensor ClipVisual::forward(const Tensor& image) const {
  const auto patches = patch_view(image, config_.patch_size).flatten(3).flatten(1, 2);  // [B, L, 3 ph pw]
  const auto embedded = at::linear(patches, conv1_.flatten(1));
  const auto token = class_embedding_.to(embedded.dtype()).expand({image.size(0), 1, -1});
  auto x = ln_pre_->forward(torch::cat({token, embedded}, 1) + positional_embedding_);
  for (const auto& block : blocks_) x = block->forward(x);
  return at::matmul(ln_post_->forward(x), proj_);
}

}  // namespace lacuna::nn
