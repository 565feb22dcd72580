#pragma once
// Swin's block: attention inside windows that every second block shifts (Liu et al., ICCV 2021, section 3.2),
// under its official names. Shared by the encoder (swin.h) and by SimMIM's inverse Swin (pixel_decoder.h).

#include <torch/nn/module.h>

#include <memory>
#include <string>

#include "lacuna/nn/layers.h"

namespace lacuna::nn {

/// [B, H, W, C] -> [B, nW, M*M, C], windows in raster order.
Tensor to_windows(const Tensor& x, int64_t window);

struct SwinBlockConfig {
  int64_t dim, num_heads, window, shift;
  Size2 grid;
  double mlp_ratio, norm_eps, drop_path;
  bool qkv_bias;
};

/// The window of a stage: never larger than its grid's smaller side.
int64_t window_of(Size2 grid, int64_t window_size);
/// By how much block `i` of a stage rolls its map: every second block, unless one window spans the grid's
/// smaller side.
int64_t shift_of(Size2 grid, int64_t window_size, int64_t i);

class WindowAttention;

/// x += attn(norm1 x) in windows, shifted or not; x += mlp(norm2 x). Names: norm1, attn.{qkv, proj,
/// relative_position_bias_table, relative_position_index}, attn_mask (shifted blocks only), norm2,
/// mlp.{fc1,fc2}.
class SwinBlock : public torch::nn::Module {
 public:
  /// `name` names its draws.
  SwinBlock(const SwinBlockConfig& config, std::string name);
  /// x [B, h*w, C] -> the same; `draws` null: no drop path.
  Tensor forward(const Tensor& x, Draws* draws) const;
  /// The relative table; linear layers are their model's to fill.
  void initialize(Draws& draws) const;

 private:
  Tensor attend(const Tensor& x) const;

  SwinBlockConfig config_;
  std::string name_;
  std::shared_ptr<LayerNorm> norm1_, norm2_;
  std::shared_ptr<WindowAttention> attn_;
  std::shared_ptr<Mlp> mlp_;
  Tensor attn_mask_;
  Tensor order_;  ///< [h*w]: tokens, window after window
};

}  // namespace lacuna::nn
