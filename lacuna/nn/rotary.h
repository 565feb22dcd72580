#pragma once
// Rotary positions in three dimensions as V-JEPA 2 turns them (models/utils/modules.py,
// rotate_queries_or_keys).

#include <torch/types.h>

#include "lacuna/nn/layers.h"

namespace lacuna::nn {

/// Sizes of a grid of tokens ordered by time, row, column.
struct Grid3 {
  int64_t t = 1, h = 1, w = 1;
  int64_t count() const { return t * h * w; }
  int64_t plane() const { return h * w; }
};

/// Angles' cosines and sines for the tokens `ids` [S, N] (int64) of heads `head_dim` wide. Time, row and
/// column get 2*((head_dim/3)/2) channels each, in this order; the rest is not turned. KEPT QUIRK of the
/// released weights: within a part of width w the angles pos * 10000^(-j/(w/2)), j < w/2, are tiled (a_0 ..
/// a_{w/2-1}, a_0 .. a_{w/2-1}), while neighbours (x_{2i}, x_{2i+1}) are turned together.
Rotation rotation_3d(const torch::Tensor& ids, const Grid3& grid, int64_t head_dim);

/// y = x cos + r sin, r_{2i} = -x_{2i+1}, r_{2i+1} = x_{2i}, on queries and keys of packed qkv [S, N, 3D].
torch::Tensor rotate_queries_and_keys(const torch::Tensor& qkv, int64_t num_heads, const Rotation& rotation);

}  // namespace lacuna::nn
