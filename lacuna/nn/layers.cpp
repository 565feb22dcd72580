#include "lacuna/nn/layers.h"

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/activation_checkpoint.h"
#include "lacuna/nn/attention.h"
#include "lacuna/nn/kernels/branch.h"
#include "lacuna/nn/rotary.h"

namespace lacuna::nn {

namespace {

kernels::NormWeights weights_of(const LayerNorm& norm) { return {norm.weight, norm.bias, norm.eps()}; }
kernels::LinearWeights weights_of(const Linear& linear) { return {linear.weight, linear.bias}; }

}  // namespace

Linear::Linear(int64_t in_features, int64_t out_features, bool with_bias) {
  weight = register_parameter("weight", torch::zeros({out_features, in_features}));
  if (with_bias) bias = register_parameter("bias", torch::zeros({out_features}));
}

Tensor Linear::forward(const Tensor& x) const { return at::linear(x, weight, bias); }

LayerNorm::LayerNorm(int64_t dim, double eps) : eps_(eps) {
  weight = register_parameter("weight", torch::ones({dim}));
  bias = register_parameter("bias", torch::zeros({dim}));
}

Tensor LayerNorm::forward(const Tensor& x) const {
  return at::layer_norm(x, {x.size(-1)}, weight, bias, eps_);
}

Tensor drop_path(const Tensor& x, double rate, const std::string& name, Draws* draws) {
  if (!draws || rate == 0) return x;
  const double keep = 1 - rate;
  std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
  shape[0] = x.size(0);
  const auto kept = draws->uniform(name, {x.size(0)}).lt(keep).to(x.options()).div_(keep);
  return x * kept.view(shape);
}

Attention::Attention(int64_t dim, int64_t num_heads, bool qkv_bias) : num_heads_(num_heads) {
  qkv_ = register_module("qkv", std::make_shared<Linear>(dim, 3 * dim, qkv_bias));
  proj_ = register_module("proj", std::make_shared<Linear>(dim, dim));
}

Tensor Attention::forward(const Tensor& x, const Rotation* rotation) const {
  auto qkv = qkv_->forward(x);  // [B, N, 3D]
  if (rotation) qkv = rotate_queries_and_keys(qkv, num_heads_, *rotation);
  return proj_->forward(self_attention(qkv, num_heads_));
}

Tensor Attention::residual(const Tensor& x, const LayerNorm& norm) const {
  if (!kernels::serves(x) || !is_short(x)) return x + forward(norm.forward(x));
  return kernels::attention_branch(x, weights_of(norm), weights_of(*qkv_), weights_of(*proj_), num_heads_,
                                   {{}, {}, x.size(1)});
}

Mlp::Mlp(int64_t dim, int64_t hidden_dim) {
  fc1_ = register_module("fc1", std::make_shared<Linear>(dim, hidden_dim));
  fc2_ = register_module("fc2", std::make_shared<Linear>(hidden_dim, dim));
}

Tensor Mlp::forward(const Tensor& x) const { return fc2_->forward(at::gelu(fc1_->forward(x))); }

Tensor Mlp::residual(const Tensor& x, const LayerNorm& norm) const {
  if (!kernels::serves(x)) return x + forward(norm.forward(x));
  return kernels::mlp_branch(x, weights_of(norm), weights_of(*fc1_), weights_of(*fc2_));
}

LayerScale::LayerScale(int64_t dim, double init_value) {
  gamma = register_parameter("gamma", torch::full({dim}, init_value));
}

Block::Block(const BlockConfig& config, std::string name)
    : name_(std::move(name)), drop_path_(config.drop_path) {
  const int64_t dim = config.dim;
  norm1_ = register_module("norm1", std::make_shared<LayerNorm>(dim, config.norm_eps));
  attn_ = register_module("attn", std::make_shared<Attention>(dim, config.num_heads, config.qkv_bias));
  norm2_ = register_module("norm2", std::make_shared<LayerNorm>(dim, config.norm_eps));
  const auto hidden_dim = static_cast<int64_t>(static_cast<double>(dim) * config.mlp_ratio);
  mlp_ = register_module("mlp", std::make_shared<Mlp>(dim, hidden_dim));
  if (config.init_values == 0) return;
  ls1_ = register_module("ls1", std::make_shared<LayerScale>(dim, config.init_values));
  ls2_ = register_module("ls2", std::make_shared<LayerScale>(dim, config.init_values));
}

Tensor Block::residual(const Tensor& branch, const std::shared_ptr<LayerScale>& scale, const char* part,
                       Draws* draws) const {
  return drop_path(scale ? branch * scale->gamma : branch, drop_path_, name_ + part, draws);
}

std::vector<std::shared_ptr<Linear>> Block::branch_ends() const { return {attn_->proj(), mlp_->fc2()}; }

Tensor Block::forward(const Tensor& x, Draws* draws, const Rotation* rotation, int64_t from) const {
  const bool plain = !ls1_ && (!draws || drop_path_ == 0) && rotation == nullptr;
  if (plain) return mlp_->residual(attn_->residual(x, *norm1_).slice(1, from), *norm2_);
  const auto all = x + residual(attn_->forward(norm1_->forward(x), rotation), ls1_, ".drop_path1", draws);
  const auto mixed = all.slice(1, from);
  return mixed + residual(mlp_->forward(norm2_->forward(mixed)), ls2_, ".drop_path2", draws);
}

PatchKernel::PatchKernel(int64_t in_chans, int64_t dim, Size2 patch) {
  weight = register_parameter("weight", torch::zeros({dim, in_chans, patch.h, patch.w}));
  bias = register_parameter("bias", torch::zeros({dim}));
}

PatchEmbed::PatchEmbed(int64_t in_chans, int64_t dim, Size2 patch) : patch_(patch) {
  proj_ = register_module("proj", std::make_shared<PatchKernel>(in_chans, dim, patch));
}

Tensor PatchEmbed::forward(const Tensor& image) const {
  return at::linear(patch_view(image, patch_).flatten(3).flatten(1, 2), proj_->weight.flatten(1),
                    proj_->bias);
}

Tensor PatchEmbed::forward(const Tensor& image, const Tensor& ids) const {
  const auto patches = gather_patches(patch_view(image, patch_), ids).flatten(2);  // [B, K, C*ph*pw]
  return at::linear(patches, proj_->weight.flatten(1), proj_->bias);
}

Tensor run_blocks(const std::vector<std::shared_ptr<Block>>& blocks, Tensor x, Draws* draws,
                  const Rotation* rotation) {
  const auto turned = rotation ? std::make_optional(*rotation) : std::nullopt;  // outlives the caller's
  for (const auto& block : blocks)
    x = run_block([&block = *block, draws, turned](
                      const auto& in) { return block.forward(in[0], draws, turned ? &*turned : nullptr); },
                  {x});
  return x;
}

Tensor patch_view(const Tensor& image, Size2 patch) {
  const int64_t B = image.size(0), C = image.size(1), h = image.size(2) / patch.h,
                w = image.size(3) / patch.w;
  LACUNA_ASSERT(h * patch.h == image.size(2) && w * patch.w == image.size(3));
  return image.reshape({B, C, h, patch.h, w, patch.w}).permute({0, 2, 4, 1, 3, 5});
}

Tensor gather_patches(const Tensor& view, const Tensor& ids) {
  const auto batch = torch::arange(view.size(0), ids.options()).unsqueeze(1);
  const int64_t width = view.size(2);
  return view.index({batch, ids.div(width, "floor"), ids.remainder(width)});
}

Tensor gather_tokens(const Tensor& x, const Tensor& ids) {
  return x.expand({ids.size(0), -1, -1}).gather(1, ids.unsqueeze(-1).expand({-1, -1, x.size(2)}));
}

void adopt(torch::nn::Module& whole, torch::nn::Module& part) {
  for (const auto& child : part.named_children()) whole.register_module(child.key(), child.value());
  for (const auto& item : part.named_parameters(/*recurse=*/false))
    whole.register_parameter(item.key(), item.value(), item.value().requires_grad());
  for (const auto& item : part.named_buffers(/*recurse=*/false))
    whole.register_buffer(item.key(), item.value());
}

}  // namespace lacuna::nn
