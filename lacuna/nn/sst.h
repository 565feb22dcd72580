#pragma once
// The single-stride sparse transformer (SST: Fan et al., CVPR 2022): attention among the occupied cells of
// windows, in turn where the windows lie and half a window further.

#include <torch/nn/module.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "lacuna/nn/layers.h"
#include "lacuna/nn/sparse_windows.h"

namespace lacuna::nn {

/// Sizes of a stack.
struct SstConfig {
  int64_t dim = 128, num_heads = 8, mlp_dim = 256;
  std::string activation = "gelu";  ///< gelu (exact) | relu
  WindowShape window;
  std::vector<WindowLevel> levels;  ///< empty: no padding
  double temperature = 10000;
  bool normalize_pos = false;
};

/// What every layer of a stack reads of where its tokens lie; made once for all stacks on the same tokens.
struct SstPlaces {
  std::array<Tensor, 2> position;        ///< [N, dim] of both layouts
  std::array<RegionBatches, 2> batches;  ///< likewise
};
/// coords [N, 4] int64: cloud, z, y, x. Levels must leave all tokens.
SstPlaces sst_places(const Tensor& coords, const SstConfig& config);

class SstLayer;

/// Blocks of two layers: windows as they lie, then shifted. Post-norm layers: x = norm1(x + attention with
/// positions added to queries and keys), x = norm2(x + linear2(act(linear1 x))). Names:
/// {b}.encoder_list.{0,1}. {win_attn.self_attn.{in_proj_weight, in_proj_bias, out_proj.*}, linear1.*,
/// linear2.*, norm1.*, norm2.*}.
class SstStack : public torch::nn::Module {
 public:
  SstStack(const SstConfig& config, int64_t blocks);
  /// Xavier-uniform matrices; biases as PyTorch's, those of attention 0.
  void initialize(Draws& draws, const std::string& prefix);
  /// x [N, dim] -> the same; checkpointed where ActivationCheckpointing is active.
  Tensor forward(Tensor x, const SstPlaces& places) const;

 private:
  std::vector<std::shared_ptr<SstLayer>> layers_;
};

}  // namespace lacuna::nn
