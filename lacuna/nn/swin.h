#pragma once
// Swin transformer v1 under its official names (Liu et al., ICCV 2021; microsoft/Swin-Transformer).

#include <torch/nn/module.h>

#include <memory>
#include <string>
#include <vector>

#include "lacuna/nn/grid_encoder.h"
#include "lacuna/nn/layers.h"

namespace lacuna::nn {

struct SwinConfig {
  Size2 img_size{224, 224}, patch_size{4, 4};
  int64_t in_chans = 3, embed_dim = 96;
  std::vector<int64_t> depths{2, 2, 6, 2}, num_heads{3, 6, 12, 24};
  int64_t window_size = 7;
  double mlp_ratio = 4.0, norm_eps = 1e-5;
  bool qkv_bias = true;
  bool ape = false;  ///< learned absolute positions besides the relative ones
  bool patch_norm = true;
  double drop_path = 0;     ///< rate of the last block; grows linearly from 0
  bool mask_token = false;  ///< can hide patches

  Size2 grid() const { return {img_size.h / patch_size.h, img_size.w / patch_size.w}; }
  Size2 stage_grid(size_t stage) const { return {grid().h >> stage, grid().w >> stage}; }
  int64_t stage_dim(size_t stage) const { return embed_dim << stage; }
  /// The window of a stage: never larger than its grid's smaller side.
  int64_t stage_window(size_t stage) const;
};

/// Refuses what can't be built, naming the nearest legal picture sizes.
void check_swin(const SwinConfig& config);

/// [nW, M*M, M*M]: 0 between tokens of one region of the rolled map, -100 between tokens of different ones.
/// Window M, cyclic shift `shift` > 0 (SwinTransformerBlock.__init__).
torch::Tensor shifted_window_mask(Size2 grid, int64_t window, int64_t shift);

class SwinBlock;
class PatchMerging;

/// Names: mask_token, absolute_pos_embed, patch_embed.{proj,norm}.*, layers.{s}.blocks.{i}.{norm1, attn.{qkv,
/// proj, relative_position_bias_table, relative_position_index}, attn_mask, norm2, mlp.{fc1,fc2}},
/// layers.{s}.downsample.{norm,reduction}, norm. D' = embed_dim * 2^(stages-1).
class Swin : public GridEncoder {
 public:
  explicit Swin(const SwinConfig& config);
  void initialize(Draws& draws) override;
  torch::Tensor forward(const torch::Tensor& image, const torch::Tensor& hidden, Draws* draws) const override;
  torch::Tensor pooled(const torch::Tensor& image, const std::string& pool) const override;
  int64_t num_features() const override { return config_.stage_dim(config_.depths.size() - 1); }
  Size2 out_grid() const override { return config_.stage_grid(config_.depths.size() - 1); }
  Size2 stride() const override;
  bool spared_by_decay(const std::string& name) const override;
  const SwinConfig& config() const { return config_; }

 private:
  torch::Tensor embed(const torch::Tensor& image, const torch::Tensor& hidden) const;

  struct Stage {
    std::vector<std::shared_ptr<SwinBlock>> blocks;
    std::shared_ptr<PatchMerging> downsample;  // null after the last stage
  };
  SwinConfig config_;
  std::shared_ptr<PatchEmbed> patch_embed_;
  std::shared_ptr<LayerNorm> patch_norm_, norm_;
  std::vector<Stage> stages_;
  torch::Tensor mask_token_, absolute_pos_embed_;
};

}  // namespace lacuna::nn
