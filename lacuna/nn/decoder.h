#pragma once
// The decoder of masked autoencoders (He et al., CVPR 2022, section 3) under the official names: visible
// tokens and mask tokens in one sequence, and stacks of blocks that predict something of each patch.

#include <torch/nn/module.h>

#include <memory>
#include <string>
#include <vector>

#include "lacuna/nn/layers.h"

namespace lacuna::nn {

/// Keys `decoder.*`.
struct DecoderConfig {
  int64_t embed_dim = 512, depth = 8, num_heads = 16;
  double mlp_ratio = 4.0, norm_eps = 1e-6;
  void fields(Fields& f);
};
/// Error when heads or position table do not fit the width.
void check_decoder(const DecoderConfig& config);

/// Names: decoder_embed.*, mask_token, decoder_pos_embed (fixed sine-cosine table). B samples of L patches, K
/// of them visible; D wide before, Dd after; `prefix` class tokens in front.
class DecoderInput : public torch::nn::Module {
 public:
  DecoderInput(int64_t encoder_dim, const DecoderConfig& config, Size2 grid, int64_t prefix);
  /// Linear layers Xavier uniform, mask token N(0, 0.02).
  void initialize(Draws& draws);
  /// latent [B, prefix+K, D] of the patches order[:, :K], order [B, L] raster numbers -> [B, prefix+L, Dd]:
  /// prefix, visible patches, a mask token for each other patch, in that order, positions added.
  Tensor forward(const Tensor& latent, const Tensor& order) const;

 private:
  int64_t prefix_;
  std::shared_ptr<Linear> embed_;
  Tensor mask_token_, pos_embed_;
};

/// Names: decoder_blocks<suffix>.{i}.*, decoder_norm<suffix>.*, decoder_pred<suffix>.*.
class DecoderStack : public torch::nn::Module {
 public:
  DecoderStack(const DecoderConfig& config, int64_t outputs, const std::string& suffix = "");
  /// Linear layers Xavier uniform.
  void initialize(Draws& draws);
  /// All blocks: [B, N, Dd] -> [B, N-from, Dd], tokens `from` to N: all that the last block's MLP computes.
  Tensor run_blocks(const Tensor& tokens, int64_t from = 0) const;
  /// Norm and head of tokens behind the blocks: [..., Dd] -> [..., outputs]. Give only those that are needed.
  Tensor predict(const Tensor& tokens) const;
  /// The mean over the outputs, [...]: the same number from a head of one row, the mean of all.
  Tensor predict_mean(const Tensor& tokens) const;

 private:
  std::vector<std::shared_ptr<Block>> blocks_;
  std::shared_ptr<LayerNorm> norm_;
  std::shared_ptr<Linear> pred_;
};

}  // namespace lacuna::nn
