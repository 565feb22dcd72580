#pragma once
// Layers of convolutional networks that carry a mask of what was kept along with the activations
// (Balasubramanian & Feizi, "Towards Improved Input Masking for Convolutional Neural Networks", ICCV 2023).
// Without a mask they are the ordinary layers, so that a network is written once and runs both ways.

#include <torch/nn/module.h>
#include <torch/types.h>

#include <string>
#include <vector>

#include "lacuna/core/draws.h"
#include "lacuna/nn/batch_norm.h"

namespace lacuna::nn {

/// What a convolution reads where pixels were removed.
enum class HoleFill {
  kNeighbor,  ///< means of the neighbours, grown inwards: the paper's layer masking
  kZero,      ///< zeros
  kPartial  ///< zeros, and the result divided by the share of the kernel that was kept (partial convolution)
};

/// x [B, C, H, W]; kept [B, 1, H, W] float, 1 = kept, 0 = removed, or undefined: an ordinary forward pass.
struct MaskedTensor {
  Tensor x, kept = {};
  HoleFill fill = HoleFill::kNeighbor;
  bool masked() const { return kept.defined(); }
};

/// Each of `rounds` rounds gives every pixel that is not valid yet the mean of its valid 3x3 neighbours (all
/// at once) and makes the valid set one pixel larger; kept pixels stay. What is filled in carries no
/// gradient.
Tensor fill_from_neighbors(const Tensor& x, const Tensor& kept, int64_t rounds);

/// Sizes of a Conv2d.
struct Conv2dConfig {
  int64_t in = 0, out = 0, kernel = 1, stride = 1, padding = 0, groups = 1;
  bool bias = false;
};

/// weight [out, in / groups, kernel, kernel], bias [out]. With a mask the hole is filled as x.fill says, the
/// mask is max-pooled by the kernel, and what lies outside the new mask is zero.
class Conv2d : public torch::nn::Module {
 public:
  explicit Conv2d(const Conv2dConfig& config);
  MaskedTensor forward(const MaskedTensor& input) const;
  const Conv2dConfig& config() const { return config_; }

  Tensor weight, bias;

 private:
  Tensor convolve(const Tensor& x, const Tensor& bias) const;
  Tensor convolve_partially(const MaskedTensor& input) const;

  Conv2dConfig config_;
};

/// In evaluation mode where there is a mask: statistics of a batch would count the holes.
MaskedTensor batch_norm(BatchNorm& norm, const MaskedTensor& input);

/// f(x), zero where removed.
template <class F>
MaskedTensor pointwise(const MaskedTensor& input, F f) {
  auto out = input;
  out.x = input.masked() ? f(input.x) * input.kept : f(input.x);
  return out;
}
MaskedTensor relu(const MaskedTensor& input);

struct Pool2dConfig {
  int64_t kernel = 2, stride = 2, padding = 0;
};
/// A position is kept when its window holds a kept one.
MaskedTensor max_pool(const MaskedTensor& input, const Pool2dConfig& config);
/// As max_pool; the mean counts removed positions as zeros.
MaskedTensor avg_pool(const MaskedTensor& input, const Pool2dConfig& config);
/// [B, C, 1, 1]: mean over the kept positions; zeros where none is kept.
Tensor global_avg_pool(const MaskedTensor& input);
/// Residual sum: kept where both are.
MaskedTensor add(const MaskedTensor& branch, const MaskedTensor& shortcut);

/// He et al.'s normal draws by fan-out for every Conv2d of `module` (biases 0), PyTorch's default for its
/// Linears, named as in the checkpoint.
void initialize_conv_net(torch::nn::Module& module, Draws& draws);

}  // namespace lacuna::nn
