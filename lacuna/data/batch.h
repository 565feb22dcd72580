#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

namespace lacuna::data {

/// What a method is given. B samples; inputs on the model's device. A data set fills the inputs of its
/// modality; the others stay undefined.
struct Batch {
  at::Tensor image;        ///< [B, C, H, W] float32, normalised
  at::Tensor video;        ///< [B, C, T, H, W] float32, normalised
  at::Tensor wave;         ///< [B, N] float32, mono; what lies behind a row's end is 0
  at::Tensor wave_length;  ///< [B] int64: samples of each row that are sound, 1 .. N
  at::Tensor frame_label;  ///< [B, J, T] int64: labels of frames in J sets; -1 where a row has none
  at::Tensor tokens;       ///< [B, U] int64: of a text, a caption or a transcript; -1 fills
  at::Tensor token_label;  ///< [B, U] int64: what is to be said at each token; -1: nothing
  at::Tensor motion;       ///< [B, T, J, 3] float32: joints relative to joint 0, the root; axis 2 is up
  at::Tensor
      points;  ///< [B, N, F] float32: x, y, z and what else a point holds; rows behind a cloud's end are 0
  at::Tensor point_count;  ///< [B] int64: points of each cloud, 0 .. N
  at::Tensor point_label;  ///< [B, N] int64: class of each point; -1: none
  at::Tensor label;        ///< [B] int64; -1 where a sample has none; stays on the host
  std::vector<int64_t>
      sample;  ///< running number of each sample in the whole run, over all processes: names its draws
  std::vector<std::string> key;  ///< the records' names, for errors and replays
  /// B
  int64_t size() const { return static_cast<int64_t>(sample.size()); }

  /// Every input that a modality may bring, by name.
  static const std::vector<std::pair<const char*, at::Tensor Batch::*>>& inputs();
  at::Device device() const;                             ///< of the inputs
  Batch to(at::Device device) const;                     ///< inputs moved there
  Batch select(const std::vector<int64_t>& rows) const;  ///< these rows, in this order
  Batch first(int64_t rows) const;                       ///< rows 0 .. rows-1
  double input_bytes() const;
};

}  // namespace lacuna::data
