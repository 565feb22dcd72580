#pragma once
// BEiT's vision transformer under its official names: relative position bias, layer scale, query and value
// biases (Bao et al., ICLR 2022; as in microsoft/SimMIM, models/vision_transformer.py).

#include <torch/nn/module.h>

#include <memory>
#include <string>
#include <vector>

#include "lacuna/nn/grid_encoder.h"
#include "lacuna/nn/layers.h"

namespace lacuna::nn {

struct BeitConfig {
  Size2 img_size{224, 224}, patch_size{16, 16};
  int64_t in_chans = 3, embed_dim = 768, depth = 12, num_heads = 12;
  double mlp_ratio = 4.0, norm_eps = 1e-6;
  bool qkv_bias = true;                 ///< biases of queries and values; keys never have one
  double init_values = 0.1;             ///< layer scale's first value; 0: no layer scale
  bool use_abs_pos_emb = false;         ///< learned absolute positions
  bool use_rel_pos_bias = false;        ///< a relative table in each block
  bool use_shared_rel_pos_bias = true;  ///< one relative table for all blocks
  bool use_mean_pooling = false;        ///< no final norm: fine-tuning puts fc_norm behind the mean
  double drop_path = 0;                 ///< rate of the last block; grows linearly from 0
  bool mask_token = false;              ///< can hide patches
  /// Bound of the truncated normal (std 0.02) that all weights start from: 2, but 0.02 in SimMIM's
  /// pre-training.
  double init_bound = 2;

  Size2 grid() const { return {img_size.h / patch_size.h, img_size.w / patch_size.w}; }
};

/// Refuses what can't be built, naming the nearest legal picture sizes.
void check_beit(const BeitConfig& config);

class BeitBlock;

/// Names: cls_token, mask_token, pos_embed, patch_embed.proj.*, rel_pos_bias.{relative_position_bias_table,
/// relative_position_index}, blocks.{i}.{gamma_1, gamma_2, norm1, attn.{q_bias, v_bias, qkv.weight, proj,
/// relative_position_bias_table, relative_position_index}, norm2, mlp.{fc1,fc2}}, norm.* or, with mean
/// pooling, fc_norm.*. D' = embed_dim.
class Beit : public GridEncoder {
 public:
  explicit Beit(const BeitConfig& config);
  void initialize(Draws& draws) override;
  torch::Tensor forward(const torch::Tensor& image, const torch::Tensor& hidden, Draws* draws) const override;
  torch::Tensor pooled(const torch::Tensor& image, const std::string& pool) const override;
  int64_t num_features() const override { return config_.embed_dim; }
  Size2 out_grid() const override { return config_.grid(); }
  Size2 stride() const override { return config_.patch_size; }
  bool spared_by_decay(const std::string& name) const override;
  const BeitConfig& config() const { return config_; }
  /// [B, 1 + L, D] after the final norm (which mean pooling leaves out), class token first.
  torch::Tensor tokens(const torch::Tensor& image, const torch::Tensor& hidden, Draws* draws) const;
  /// Of mean pooling, else null. Fine-tuning puts it behind the mean; the official pre-training has it
  /// without using it.
  const std::shared_ptr<LayerNorm>& fc_norm() const { return fc_norm_; }

 private:
  BeitConfig config_;
  std::shared_ptr<PatchEmbed> patch_embed_;
  std::vector<std::shared_ptr<BeitBlock>> blocks_;
  std::shared_ptr<LayerNorm> norm_, fc_norm_;
  torch::Tensor cls_token_, mask_token_, pos_embed_, shared_table_, shared_index_;
};

}  // namespace lacuna::nn
