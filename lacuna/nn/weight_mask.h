#pragma once
// Binary masks over frozen weights, trained through real scores (R-AMT; Zheng et al., ICCV 2023).

#include <torch/nn/module.h>
#include <torch/types.h>

#include <string>
#include <vector>

#include "lacuna/core/draws.h"
#include "lacuna/nn/clip_blocks.h"
#include "lacuna/nn/weights.h"

namespace lacuna::nn {

/// weight * 1[score > threshold]. The gradient to a score is that of the masked weight times the weight: the
/// step counts as the identity (straight through).
Tensor masked_weight(const Tensor& weight, const Tensor& score, double threshold);

/// 1[score > threshold] row by row, the first in the highest bit of the first byte, zeros behind the last:
/// [ceil(n / 8)] uint8.
Tensor pack_bits(const Tensor& score, double threshold);
/// The first `count` bits as 0 and 1: [count] float32.
Tensor unpack_bits(const Tensor& packed, int64_t count);

/// Scores of a ClipVision's weights, under R-AMT's names: conv1.mask_real,
/// transformer.resblocks.{i}.{attn.mask_real, attn.out_proj.mask_real, mlp.c_fc.mask_real,
/// mlp.c_proj.mask_real}.
class WeightMasks : public torch::nn::Module {
 public:
  /// One score for each element of weights[k], called weight_names[k] in the tower.
  WeightMasks(const std::vector<std::string>& weight_names, const std::vector<Tensor>& weights,
              double threshold);
  /// All `scale`, or U(0, scale).
  void initialize(const std::string& init, double scale, Draws& draws);
  /// Takes the place of the weights that have scores.
  WeightHook hook() const;
  double threshold() const { return threshold_; }
  const std::vector<std::string>& weight_names() const { return weight_names_; }
  const std::vector<std::string>& names() const { return names_; }  ///< of the scores, in order
  const std::vector<Tensor>& scores() const { return scores_; }
  /// Share of the scores below the threshold.
  double sparsity() const;
  /// pack_bits of each, by the score's name.
  NamedTensors packed() const;

 private:
  std::vector<std::string> weight_names_, names_;
  std::vector<Tensor> scores_;
  double threshold_;
};

/// conv1.weight -> conv1.mask_real; transformer.resblocks.0.attn.in_proj_weight ->
/// transformer.resblocks.0.attn.mask_real.
std::string score_name(const std::string& weight_name);

}  // namespace lacuna::nn
