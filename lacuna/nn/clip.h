#pragma once
// CLIP's two towers under OpenAI's names (Radford et al., "Learning Transferable Visual Models From Natural
// Language Supervision", ICML 2021). B pictures or texts, N patches, T tokens, W width, E the shared space.

#include <torch/nn/module.h>

#include <memory>
#include <string>

#include "lacuna/core/config.h"
#include "lacuna/core/draws.h"
#include "lacuna/nn/clip_blocks.h"
#include "lacuna/nn/layers.h"

namespace lacuna::nn {

/// Keys `encoder.*`: the image tower. `arch` clip_vit_b32, clip_vit_b16, clip_vit_l14, clip_vit_l14_336 fills
/// the sizes of both towers that were not given; `clip_vit` takes them as they stand.
struct ClipVisionConfig {
  std::string arch = "clip_vit_b16";
  Size2 img_size{224, 224}, patch_size{16, 16};
  Size2 stride{0, 0};  ///< of the patches; 0: patch_size. Smaller: patches overlap (GA-DMS)
  int64_t in_chans = 3, embed_dim = 768, depth = 12, num_heads = 12;
  double mlp_ratio = 4;
  std::string act = "quick_gelu";
  double norm_eps = 1e-5;
  void fields(Fields& f);
  Size2 step() const { return {stride.h ? stride.h : patch_size.h, stride.w ? stride.w : patch_size.w}; }
  /// Patches down and across.
  Size2 grid() const;
  /// Error when a picture holds no patch, patches leave a rest, or heads do not divide the width.
  void check() const;
};

/// Keys `text.*`: the text tower.
struct ClipTextConfig {
  int64_t context_length = 77, vocab_size = 0, embed_dim = 512, depth = 12, num_heads = 8;
  double mlp_ratio = 4;
  std::string act = "quick_gelu";
  double norm_eps = 1e-5;
  void fields(Fields& f);
  void check() const;
};

/// Names that `encoder.arch` knows.
std::vector<std::string> clip_archs();
/// Sizes of `vision.arch` for what the user did not give of both towers and of the shared space.
void resolve_clip(const ConfigTable& table, ClipVisionConfig& vision, ClipTextConfig& text, int64_t& dim);

/// Names: class_embedding [W], positional_embedding [1+N, W], conv1.weight [W, C, ph, pw], ln_pre.*,
/// transformer.*, ln_post.*, proj [W, E]. Weights start at zero until initialize().
class ClipVision : public torch::nn::Module {
 public:
  ClipVision(const ClipVisionConfig& config, int64_t output_dim);
  void initialize(Draws& draws, const std::string& prefix = "visual.");
  /// image [B, C, H, W] normalised -> [B, E], not normalised.
  Tensor forward(const Tensor& image, const WeightHook* hook = nullptr) const;
  /// [B, 1+N, E]: class token and patches in raster order, all behind ln_post and projection (GA-DMS).
  Tensor tokens(const Tensor& image, const WeightHook* hook = nullptr) const;
  /// [B, 1+N, W] behind block `layer` (0: what the first block reads), or -1, -2, ... counted from the last
  /// (OLA-VLM reads -2); before ln_post.
  Tensor hidden(const Tensor& image, int64_t layer = -1, const WeightHook* hook = nullptr) const;
  /// ln_post of [..., W].
  Tensor norm(const Tensor& x) const { return ln_post_->forward(x); }
  /// [..., W] -> [..., E]
  Tensor project(const Tensor& x) const { return at::matmul(x, proj_); }
  const ClipVisionConfig& config() const { return config_; }

 private:
  ClipVisionConfig config_;
  Tensor conv1_, class_embedding_, positional_embedding_, proj_;
  std::shared_ptr<LayerNorm> ln_pre_, ln_post_;
  std::shared_ptr<ClipBlocks> transformer_;
};

/// Names: token_embedding.weight [V, W], positional_embedding [T, W], transformer.*, ln_final.*,
/// text_projection [W, E]. Each token sees itself and those before it. tokens [B, U] int64, U <= T; what lies
/// behind a text's end is never read (any number, or -1).
class ClipText : public torch::nn::Module {
 public:
  ClipText(const ClipTextConfig& config, int64_t output_dim);
  void initialize(Draws& draws);
  /// [B, E], not normalised: the row at `end` [B], a text's last token. Undefined: the highest number (what
  /// OpenAI's end token is).
  Tensor forward(const Tensor& tokens, Tensor end = {}) const;
  /// [B, U, W] behind ln_final, for networks that read the text itself. `attended` [B, U] of 0 and 1
  /// (undefined: all) hides tokens besides.
  Tensor hidden(const Tensor& tokens, const Tensor& attended = {}) const;
  /// [..., W] -> [..., E]
  Tensor project(const Tensor& x) const { return at::matmul(x, text_projection_); }
  const ClipTextConfig& config() const { return config_; }

 private:
  ClipTextConfig config_;
  Tensor token_embedding_, positional_embedding_, text_projection_;
  std::shared_ptr<LayerNorm> ln_final_;
  std::shared_ptr<ClipBlocks> transformer_;
};

/// x / ||x|| over the last dimension, without an epsilon.
Tensor unit_rows(const Tensor& x);
/// x[b, at[b]]: [B, U, W], [B] -> [B, W].
Tensor rows_at(const Tensor& x, const Tensor& at);
/// positions [1 + from.area(), W] for another grid: bilinear, align_corners false, no antialias; the class
/// position is kept.
Tensor resize_clip_positions(const Tensor& positions, Size2 from, Size2 to);

}  // namespace lacuna::nn
