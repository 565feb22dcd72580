#pragma once
// Weights by name.

#include <torch/nn/module.h>
#include <torch/types.h>

#include <map>
#include <string>
#include <vector>

namespace lacuna::nn {

/// Tensors by name; handles, not copies.
using NamedTensors = std::map<std::string, torch::Tensor>;

/// A module's parameters and buffers.
NamedTensors named_tensors(const torch::nn::Module& module);

/// Copies tensors by name into `own`. Strict: any missing, unexpected or misshapen name is an Error with
/// counts, the first names with both shapes and the likely fix. With `partial`, returns what was not loaded
/// instead.
std::vector<std::string> load_weights(const NamedTensors& own, const NamedTensors& weights,
                                      const std::string& origin, bool partial = false);

}  // namespace lacuna::nn
