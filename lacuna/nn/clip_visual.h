#pragma once
// CLIP's vision transformer under OpenAI's names (Radford et al., ICML 2021), without "visual." in front.

#include <torch/nn/module.h>

#include <memory>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/nn/layers.h"

namespace lacuna::nn {

struct ClipVisualConfig {
  Size2 grid{14, 14}, patch_size{16, 16};
  int64_t width = 768, depth = 12, num_heads = 12;
  int64_t output_dim = 512;  ///< of the projection into the space shared with text
};

/// Names: class_embedding [D], positional_embedding [1+L, D], conv1.weight [D, 3, ph, pw], proj [D,
/// output_dim], ln_pre.*,
/// transformer.resblocks.{i}.{ln_1,attn.in_proj_weight,attn.in_proj_bias,attn.out_proj,ln_2,
/// mlp.c_fc,mlp.c_proj}, ln_post.*. Weights start at zero: they are always loaded.
class ClipVisual : public torch::nn::Module {
 public:
  explicit ClipVisual(const ClipVisualConfig& config);
  /// image [B, 3, H, W] normalised as CLIP's -> [B, 1+L, output_dim]: the class token (CLIP's image feature)
  /// and the patches in raster order, all behind ln_post and projection.
  Tensor forward(const Tensor& image) const;

 private:
  struct Block;
  ClipVisualConfig config_;
  Tensor conv1_, class_embedding_, positional_embedding_, proj_;
  std::shared_ptr<LayerNorm> ln_pre_, ln_post_;
  std::vector<std::shared_ptr<Block>> blocks_;
};

}  // namespace lacuna::nn
