#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

namespace lacuna::data {

/// What a method is given. B samples; tensors on the model's device.
struct Batch {
  at::Tensor image;  ///< [B, C, H, W] float32, normalised
  at::Tensor label;  ///< [B] int64; -1 where a sample has none
  std::vector<int64_t>
      sample;  ///< running number of each sample in the whole run, over all processes: names its draws
  std::vector<std::string> key;  ///< the records' names, for errors and replays
  /// B
  int64_t size() const { return static_cast<int64_t>(sample.size()); }
};

}  // namespace lacuna::data
