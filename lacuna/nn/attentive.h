#pragma once
// The attentive probe of V-JEPA: a learned query reads a frozen encoder's tokens (facebookresearch/jepa and
// vjepa2, src/models/attentive_pooler.py).

#include <torch/nn/module.h>

#include <memory>
#include <string>
#include <vector>

#include "lacuna/core/draws.h"
#include "lacuna/nn/layers.h"

namespace lacuna::nn {

/// Sizes of a probe. `layout` "vjepa2": depth-1 self-attention blocks on the tokens, then the query attends.
/// "vjepa": the query attends first, the blocks then act on the query alone; the cross-attention has a
/// projection that nothing uses.
struct AttentiveConfig {
  std::string layout = "vjepa2";
  int64_t embed_dim = 768, num_heads = 12, depth = 1, num_classes = 10;
  double mlp_ratio = 4, norm_eps = 1e-5;
  double init_std = 0.02;  ///< of the query and the linear layers
};

/// Error when heads do not divide the width.
void check_attentive(const AttentiveConfig& config);

/// tokens [B, N, D] -> logits [B, classes]. Names: pooler.query_tokens [1, 1, D],
/// pooler.cross_attention_block.{norm1,norm2}.*, .xattn.{q,kv}.*, .mlp.{fc1,fc2}.*, pooler.blocks.{i}.*,
/// linear.*.
class AttentiveClassifier : public torch::nn::Module {
 public:
  explicit AttentiveClassifier(const AttentiveConfig& config);
  /// As the encoders of V-JEPA: truncated normals, branch ends over sqrt(2 l).
  void initialize(Draws& draws);
  Tensor forward(const Tensor& tokens) const;

 private:
  struct Pooler;
  struct CrossBlock;
  std::shared_ptr<Pooler> pooler_;
  std::shared_ptr<Linear> linear_;
  double init_std_;
};

}  // namespace lacuna::nn
