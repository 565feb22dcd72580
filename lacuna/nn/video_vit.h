#pragma once
// The vision transformer of films and its predictor, under V-JEPA's names (Bardes et al., 2024; Assran et
// al., 2025; facebookresearch/jepa and vjepa2, src/models/{vision_transformer,predictor}.py).

#include <torch/nn/module.h>

#include <memory>
#include <string>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/core/draws.h"
#include "lacuna/nn/layers.h"
#include "lacuna/nn/rotary.h"

namespace lacuna::nn {

/// Keys `encoder.*`. `arch` vit_base ... vit_gigantic fills width, depth, heads and MLP ratio that were not
/// given; `vit` takes them as they stand.
struct VideoViTConfig {
  std::string arch = "vit_large";
  Size2 img_size{224, 224}, patch_size{16, 16};
  int64_t num_frames = 16, tubelet_size = 2, in_chans = 3;
  int64_t embed_dim = 1024, depth = 24, num_heads = 16;
  double mlp_ratio = 4;
  bool qkv_bias = true;
  double norm_eps = 1e-6;
  bool use_rope = true, uniform_power = true;
  double drop_path = 0;

  void fields(Fields& f);        ///< all of them
  void input_fields(Fields& f);  ///< what is read: sizes of clip and cubes
  void size_fields(Fields& f);   ///< the network's own
  /// `prefix`: where the keys stand in the table ("encoder").
  void resolve(const ConfigTable& table, const std::string& prefix);
  /// Takes the sizes of clip and cubes from another.
  void read_as(const VideoViTConfig& other);
  Grid3 grid() const {
    return {num_frames / tubelet_size, img_size.h / patch_size.h, img_size.w / patch_size.w};
  }
  int64_t cube_values() const { return in_chans * tubelet_size * patch_size.area(); }
};

/// Fixed sine-cosine table [1, N, dim] for tokens ordered by time, row, column; parts for time, row and
/// column of dim/2, dim/4, dim/4 channels, or with `uniform_power` of 2*ceil(dim/6) each, cut to dim. A part
/// of width w holds [sin(p omega_j), cos(p omega_j)], omega_j = 10000^(-j/(w/2)), all sines first.
torch::Tensor sincos_3d(int64_t dim, const Grid3& grid, bool uniform_power);
/// Error when such a table can't be made, naming `key`.
void check_sincos_3d(const std::string& key, int64_t dim, bool uniform_power);

/// The film cut into cubes without a copy: [B, C, T, H, W] -> [B, t, h, w, C, frames, ph, pw].
torch::Tensor cube_view(const torch::Tensor& video, int64_t frames, Size2 patch);
/// Copies cubes `ids` [B, K] out of a view [B, t, h, w, ...] -> [B, K, ...].
torch::Tensor gather_cubes(const torch::Tensor& view, const torch::Tensor& ids);
/// [B, N] int64: 0 .. N-1 in every row.
torch::Tensor all_tokens(int64_t batch, int64_t count, torch::Device device);

/// Names: patch_embed.proj.{weight [D, C, frames, ph, pw], bias}, pos_embed [1, N, D] (without RoPE, not
/// trained), blocks.{i}.*, norm.*.
class VideoViT : public torch::nn::Module {
 public:
  explicit VideoViT(const VideoViTConfig& config);
  /// Truncated normal of deviation 0.02, biases 0; the last layer of each branch of block l (from 1) over
  /// sqrt(2 l). `name`: what the parameters are called in front.
  void initialize(Draws& draws, const std::string& name);
  /// video [B, C, T, H, W] -> [B, K, D], normed: only the tokens `ids` [B, K] are embedded and seen. `draws`
  /// null: no drop path.
  torch::Tensor forward(const torch::Tensor& video, const torch::Tensor& ids, Draws* draws = nullptr) const;
  /// All tokens.
  torch::Tensor forward(const torch::Tensor& video) const;
  const VideoViTConfig& config() const { return config_; }

 private:
  struct CubeEmbed;
  VideoViTConfig config_;
  std::shared_ptr<CubeEmbed> patch_embed_;
  torch::Tensor pos_embed_;
  std::vector<std::shared_ptr<Block>> blocks_;
  std::shared_ptr<LayerNorm> norm_;
};

/// Keys `predictor.*`.
struct VideoPredictorConfig {
  int64_t embed_dim = 384, depth = 12, num_heads = 16;
  int64_t num_mask_tokens = 0;  ///< 0: one for each group of masks
  void fields(Fields& f);
};

/// Names: predictor_embed.*, mask_tokens.{g} [1, 1, P], predictor_pos_embed [1, N, P] (without RoPE),
/// predictor_blocks.{i}.*, predictor_norm.*, predictor_proj.*.
class VideoPredictor : public torch::nn::Module {
 public:
  /// `encoder`: whose tokens it reads and whose habits (positions, MLP, epsilon) it shares.
  VideoPredictor(const VideoPredictorConfig& config, const VideoViTConfig& encoder, int64_t outputs);
  void initialize(Draws& draws, const std::string& name);
  /// context [B, K, D] of the tokens `context_ids` -> [B, M, outputs] for the tokens `target_ids` [B, M], in
  /// their order. `group` chooses the mask token.
  torch::Tensor forward(const torch::Tensor& context, const torch::Tensor& context_ids,
                        const torch::Tensor& target_ids, int64_t group) const;

 private:
  VideoPredictorConfig config_;
  Grid3 grid_;
  std::shared_ptr<Linear> embed_, proj_;
  std::vector<torch::Tensor> mask_tokens_;
  torch::Tensor pos_embed_;
  std::vector<std::shared_ptr<Block>> blocks_;
  std::shared_ptr<LayerNorm> norm_;
};

}  // namespace lacuna::nn
