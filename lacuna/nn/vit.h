#pragma once
// The plain vision transformer under timm's names (Dosovitskiy et al., ICLR 2021).

#include <torch/nn/module.h>

#include <string>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/core/draws.h"
#include "lacuna/nn/layers.h"

namespace lacuna::nn {

/// Keys `encoder.*`. `arch` vit_tiny ... vit_huge fills width, depth and heads that were not given; `vit`
/// takes them as they stand.
struct ViTConfig {
  std::string arch = "vit_base";
  Size2 img_size{224, 224}, patch_size{16, 16};
  int64_t in_chans = 3, embed_dim = 768, depth = 12, num_heads = 12;
  double mlp_ratio = 4.0;
  bool qkv_bias = true;
  double norm_eps = 1e-6;
  bool class_token = true;
  std::string pos_embed = "sincos2d-fixed";
  double drop_path = 0;    ///< rate of the last block; grows linearly from 0
  double init_values = 0;  ///< layer scale's first value; 0: no layer scale
  bool final_norm = true;  ///< no key: fine-tuning on the mean of the patch tokens has none
  void fields(Fields& f);
  /// `prefix`: where the keys stand in the table ("encoder").
  void resolve(const ConfigTable& table, const std::string& prefix);
  Size2 grid() const { return {img_size.h / patch_size.h, img_size.w / patch_size.w}; }
};

/// vit_tiny, vit_small, ...: the names that `arch` knows a size for.
std::vector<std::string> vit_archs();

/// Error naming the nearest legal sizes when a picture is no multiple of the patch.
void check_patches(Size2 img_size, Size2 patch_size);
/// Error when the heads do not divide the width.
void check_heads(int64_t embed_dim, int64_t num_heads);
/// Refuses at once what can't be built: picture no multiple of the patch (nearest legal sizes are named),
/// width no multiple of the heads, a width that the position table can't have.
void check_vit(const ViTConfig& config);

/// Fixed sine-cosine table [1, prefix + h*w, dim]; prefix rows are zero. For row r, column c the vector is
/// [sin(c w_i), cos(c w_i), sin(r w_i), cos(r w_i)], w_i = 10000^(-i/(dim/4)) (MAE util/pos_embed.py). dim %
/// 4 == 0.
torch::Tensor sincos_2d(int64_t dim, Size2 grid, int64_t prefix);

/// pos_embed resized for another grid: patch rows by bicubic interpolation (align_corners false), prefix
/// untouched.
torch::Tensor resize_pos_embed(const torch::Tensor& pos_embed, Size2 from, Size2 to, int64_t prefix);

/// Names: cls_token, pos_embed, patch_embed.proj.*,
/// blocks.{i}.{norm1,attn.qkv,attn.proj,ls1,norm2,mlp.fc1,mlp.fc2,ls2}, norm.*. Shapes: image [B, C, H, W]; L
/// = grid area patches in raster order; D = embed_dim.
class ViT : public torch::nn::Module {
 public:
  explicit ViT(const ViTConfig& config);
  /// MAE's initialisation: Xavier uniform for every linear and the patch kernel, tokens N(0, 0.02).
  void initialize(Draws& draws);

  /// [B, L, D]: patches embedded, positions added.
  torch::Tensor embed(const torch::Tensor& image) const;
  /// [B, K, D]: only the patches `ids` [B, K] (int64, raster numbers) are cut out and embedded.
  torch::Tensor embed_patches(const torch::Tensor& image, const torch::Tensor& ids) const;
  /// [B, K, D] (or [1, K, D]): the positions of the patches `ids`; zeros where the encoder has none.
  torch::Tensor positions(const torch::Tensor& ids) const;
  /// [B, 1+N, D]: class token (with its position) in front; unchanged without a class token.
  torch::Tensor prepend_class(const torch::Tensor& tokens) const;
  /// All blocks, no final norm. `draws` null: no drop path.
  torch::Tensor run_blocks(torch::Tensor tokens, Draws* draws) const;
  torch::Tensor norm(const torch::Tensor& tokens) const;
  /// embed, prepend_class, run_blocks, norm: [B, prefix + L, D].
  torch::Tensor forward_features(const torch::Tensor& image) const;
  /// [B, D] from normed tokens: class token ("token") or mean of patch tokens ("avg").
  torch::Tensor pool(const torch::Tensor& tokens, const std::string& pool) const;

  const ViTConfig& config() const { return config_; }
  int64_t prefix_tokens() const { return config_.class_token ? 1 : 0; }

 private:
  ViTConfig config_;
  std::shared_ptr<PatchEmbed> patch_embed_;
  std::vector<std::shared_ptr<Block>> blocks_;
  std::shared_ptr<LayerNorm> norm_;
  torch::Tensor cls_token_, pos_embed_;
};

}  // namespace lacuna::nn
