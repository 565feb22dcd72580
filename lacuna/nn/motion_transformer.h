#pragma once
// HumanMAC's network (Chen et al., ICCV 2023, section 3.3; official code models/transformer.py): a
// transformer over DCT coefficients that predicts their noise, told the noise level and the observed motion.

#include <torch/nn/module.h>

#include <memory>
#include <string>
#include <vector>

#include "lacuna/nn/layers.h"

namespace lacuna::nn {

/// Keys `encoder.*`.
struct MotionTransformerConfig {
  int64_t joints = 16;  ///< without the root
  int64_t embed_dim = 512, depth = 8, num_heads = 8, mlp_dim = 1024;
  double dropout = 0.2;
  double max_period = 10000;  ///< of the time embedding's slowest wave
  void fields(Fields& f);
  /// Error when it can't be built: odd depth, heads that do not divide the width.
  void check() const;
};

/// What the network is told of a motion besides its noised coefficients.
struct Condition {
  Tensor coefficients;  ///< [B, L, D] of the padded history; undefined: nothing is told
  Tensor rows;          ///< [B] bool: which samples are told; undefined: all
};

class MotionBlock;

/// Names: sequence_embedding [L, C], joint_embed.*, cond_embed.*, time_embed.{0,2}.*,
/// temporal_decoder_blocks.{i}. {sa_block.{norm, query, key, value, proj_out.{emb_layers.1, norm,
/// out_layers.2}}, ffn.{linear1, linear2, proj_out.*}}, out.*. L coefficients, D = 3 joints, C = embed_dim.
class MotionTransformer : public torch::nn::Module {
 public:
  MotionTransformer(const MotionTransformerConfig& config, int64_t rows);
  /// The official start: sequence embedding N(0, 1); linear layers PyTorch's defaults, but linear2, the last
  /// layer of each style and `out` zero.
  void initialize(Draws& draws);
  /// x [B, L, D] noised coefficients, level [B] int64 -> predicted noise [B, L, D]. `draws` null: no dropout.
  Tensor forward(const Tensor& x, const Tensor& level, const Condition& condition, Draws* draws) const;
  /// [B, L, C]: what the last layer reads.
  Tensor hidden(const Tensor& x, const Tensor& level, const Condition& condition, Draws* draws) const;

 private:
  MotionTransformerConfig config_;
  Tensor sequence_embedding_;
  std::shared_ptr<Linear> joint_embed_, cond_embed_, time_in_, time_out_, out_;
  std::vector<std::shared_ptr<MotionBlock>> blocks_;
};

/// [B, dim] float32: cosines, then sines, of level / max_period^(j / (dim / 2)); an odd width ends in 0.
Tensor level_embedding(const Tensor& level, int64_t dim, double max_period);

}  // namespace lacuna::nn
