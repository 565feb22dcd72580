#include "lacuna/nn/swin_block.h"

#include <algorithm>

#include "lacuna/core/torch.h"
#include "lacuna/nn/attention.h"
#include "lacuna/nn/init.h"
#include "lacuna/nn/kernels/branch.h"
#include "lacuna/nn/relative_position.h"
#include "lacuna/nn/swin.h"

namespace lacuna::nn {

Tensor to_windows(const Tensor& x, int64_t window) {
  const int64_t B = x.size(0), H = x.size(1), W = x.size(2), C = x.size(3);
  return x.reshape({B, H / window, window, W / window, window, C})
      .transpose(2, 3)
      .reshape({B, H / window * (W / window), window * window, C});
}

int64_t window_of(Size2 grid, int64_t window_size) { return std::min({window_size, grid.h, grid.w}); }

int64_t shift_of(Size2 grid, int64_t window_size, int64_t i) {
  return i % 2 == 0 || std::min(grid.h, grid.w) <= window_size ? 0 : window_size / 2;
}

namespace {

/// The way back: [B, nW, M*M, C] -> [B, H, W, C].
Tensor from_windows(const Tensor& windows, int64_t window, Size2 grid) {
  const int64_t B = windows.size(0), C = windows.size(3);
  return windows.view({B, grid.h / window, grid.w / window, window, window, C})
      .transpose(2, 3)
      .reshape({B, grid.h, grid.w, C});
}

/// [h*w]: the tokens of a shifted grid, window after window.
Tensor window_order(Size2 grid, int64_t window, int64_t shift) {
  auto tokens = torch::arange(grid.area()).view({1, grid.h, grid.w, 1});
  if (shift > 0) tokens = tokens.roll({-shift, -shift}, {1, 2});
  return to_windows(tokens, window).flatten().contiguous();
}

}  // namespace

/// Attention inside windows with relative position bias. x [B, nW, N, C] -> the same.
class WindowAttention : public torch::nn::Module {
 public:
  WindowAttention(int64_t dim, int64_t window, int64_t num_heads, bool qkv_bias) : num_heads_(num_heads) {
    const Size2 side{window, window};
    table_ = register_parameter("relative_position_bias_table",
                                torch::zeros({relative_table_rows(side, false), num_heads}));
    index_ = register_buffer("relative_position_index", relative_position_index(side, false));
    qkv_ = register_module("qkv", std::make_shared<Linear>(dim, 3 * dim, qkv_bias));
    proj_ = register_module("proj", std::make_shared<Linear>(dim, dim));
  }

  /// `mask` [nW, N, N], or undefined.
  Tensor forward(const Tensor& x, const Tensor& mask) const {
    const int64_t B = x.size(0), nW = x.size(1), N = x.size(2), C = x.size(3);
    const auto mixed =
        self_attention(qkv_->forward(x).view({B * nW, N, 3 * C}), num_heads_, logit_bias(mask));
    return proj_->forward(mixed.view({B, nW, N, C}));
  }

  /// x + forward(norm x) with the windows of `order` (kernels::Windows). x [B, h*w, C] -> the same.
  Tensor residual(const Tensor& x, const LayerNorm& norm, const Tensor& order, const Tensor& mask) const {
    const kernels::LinearWeights in{qkv_->weight, qkv_->bias}, out{proj_->weight, proj_->bias};
    return kernels::attention_branch(x, {norm.weight, norm.bias, norm.eps()}, in, out, num_heads_,
                                     {order, logit_bias(mask), index_.size(0)});
  }

  const Tensor& table() const { return table_; }

 private:
  /// [heads, N, N], or [nW, heads, N, N] with a mask.
  Tensor logit_bias(const Tensor& mask) const {
    const auto bias = relative_position_bias(table_, index_);
    return mask.defined() ? bias + mask.unsqueeze(1) : bias;
  }

  int64_t num_heads_;
  std::shared_ptr<Linear> qkv_, proj_;
  Tensor table_, index_;
};

SwinBlock::SwinBlock(const SwinBlockConfig& config, std::string name)
    : config_(config), name_(std::move(name)) {
  norm1_ = register_module("norm1", std::make_shared<LayerNorm>(config.dim, config.norm_eps));
  attn_ = register_module("attn", std::make_shared<WindowAttention>(config.dim, config.window,
                                                                    config.num_heads, config.qkv_bias));
  norm2_ = register_module("norm2", std::make_shared<LayerNorm>(config.dim, config.norm_eps));
  const auto hidden = static_cast<int64_t>(static_cast<double>(config.dim) * config.mlp_ratio);
  mlp_ = register_module("mlp", std::make_shared<Mlp>(config.dim, hidden));
  if (config.shift > 0)
    attn_mask_ = register_buffer("attn_mask", shifted_window_mask(config.grid, config.window, config.shift));
  order_ = window_order(config.grid, config.window, config.shift);
}

Tensor SwinBlock::forward(const Tensor& x, Draws* draws) const {
  const bool plain = (!draws || config_.drop_path == 0) && kernels::serves(x);
  if (plain && config_.window * config_.window <= kShortSequence)
    return mlp_->residual(attn_->residual(x, *norm1_, order_, attn_mask_), *norm2_);
  const auto mixed = x + drop_path(attend(x), config_.drop_path, name_ + ".drop_path1", draws);
  return mixed +
         drop_path(mlp_->forward(norm2_->forward(mixed)), config_.drop_path, name_ + ".drop_path2", draws);
}

void SwinBlock::initialize(Draws& draws) const {
  trunc_normal_(attn_->table(), 0.02, draws, name_ + ".attn.relative_position_bias_table");
}

Tensor SwinBlock::attend(const Tensor& x) const {
  const int64_t B = x.size(0), C = x.size(2);
  const auto& [h, w] = config_.grid;
  auto map = norm1_->forward(x).view({B, h, w, C});
  if (config_.shift > 0) map = map.roll({-config_.shift, -config_.shift}, {1, 2});
  const auto windows = attn_->forward(to_windows(map, config_.window), attn_mask_);
  auto back = from_windows(windows, config_.window, config_.grid);
  if (config_.shift > 0) back = back.roll({config_.shift, config_.shift}, {1, 2});
  return back.view({B, h * w, C});
}

}  // namespace lacuna::nn
