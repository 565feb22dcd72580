#pragma once
// The transformer of both of CLIP's towers, under OpenAI's names (Radford et al., ICML 2021).

#include <torch/nn/module.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lacuna/nn/layers.h"

namespace lacuna::nn {

/// What stands in for a weight while a tower runs (masked weights): its name within the tower and the weight
/// as it is -> the one that is used, of the same shape. Asked for the kernels and matrices conv1.weight and
/// transformer.resblocks.{i}.{attn.in_proj_weight, attn.out_proj.weight, mlp.c_fc.weight, mlp.c_proj.weight}.
using WeightHook = std::function<Tensor(const std::string& name, const Tensor& weight)>;

/// Sizes of a ClipBlocks.
struct ClipBlocksConfig {
  int64_t dim = 512, depth = 12, num_heads = 8, hidden_dim = 2048;
  std::string act = "quick_gelu";  ///< quick_gelu: x sigmoid(1.702 x) | gelu: exact
  double norm_eps = 1e-5;
};

/// Pre-norm blocks x += attn(ln_1 x); x += mlp(ln_2 x). Names: resblocks.{i}.{ln_1, attn.in_proj_weight
/// [3D, D] (q, k, v), attn.in_proj_bias, attn.out_proj, ln_2, mlp.c_fc, mlp.c_proj}. x [B, N, D].
class ClipBlocks : public torch::nn::Module {
 public:
  explicit ClipBlocks(const ClipBlocksConfig& config);
  /// The first `count` blocks. `bias` (undefined: none) [H or 1, N, N] or [B, H or 1, N, N] is added to the
  /// logits; -inf hides. `hook` null: the weights as they are.
  Tensor forward(Tensor x, int64_t count, const Tensor& bias, const WeightHook* hook) const;
  /// The text tower's first values (card 00-clip): matrices normal, biases 0. The image tower's (PyTorch's
  /// defaults) where `normal` is false. `name` stands before the parameters' names.
  void initialize(Draws& draws, const std::string& name, bool normal);
  int64_t depth() const { return static_cast<int64_t>(blocks_.size()); }

 private:
  struct Block;
  ClipBlocksConfig config_;
  std::vector<std::shared_ptr<Block>> blocks_;
};

}  // namespace lacuna::nn
