#pragma once
// Activation checkpointing (Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174):
// a block keeps its inputs alone and is computed again in the backward pass. Same numbers, a third more
// arithmetic, and of the blocks' activations only one block's at a time.

#include <torch/types.h>

#include <functional>
#include <vector>

namespace lacuna::nn {

using torch::Tensor;

/// While one that is `on` lives, the blocks run by this thread are checkpointed.
class ActivationCheckpointing {
 public:
  explicit ActivationCheckpointing(bool on);
  ~ActivationCheckpointing();
  ActivationCheckpointing(const ActivationCheckpointing&) = delete;
  ActivationCheckpointing& operator=(const ActivationCheckpointing&) = delete;
  static bool active();

 private:
  const bool before_;
};

/// block(inputs), checkpointed while ActivationCheckpointing is active and a gradient is recorded. Whatever
/// the block reads besides `inputs` must be a parameter, or have no gradient; what it draws must come out the
/// same the second time (Draws do). An input may be undefined.
Tensor run_block(const std::function<Tensor(const std::vector<Tensor>&)>& block,
                 const std::vector<Tensor>& inputs);

}  // namespace lacuna::nn
