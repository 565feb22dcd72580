#pragma once
// Points sorted into the cells of a grid: exact, in a fixed order, on any device.

#include <torch/types.h>

#include <array>
#include <vector>

#include "lacuna/core/config.h"

namespace lacuna::nn {

using torch::Tensor;

/// Keys `voxel.*`: the grid that a cloud is cut by.
struct VoxelConfig {
  std::vector<double> size{0.256, 0.256, 8};                   ///< of a pillar, x y z, in metres
  std::vector<double> range{-51.2, -51.2, -5, 51.2, 51.2, 3};  ///< lowest x y z, highest x y z
  std::vector<int64_t> low{8, 4, 4}, med{4, 2, 2};             ///< parts of a pillar along z, y, x
  void fields(Fields& f);
  /// Error when no grid can be made of it.
  void check() const;
};

/// A grid; every triple is ordered z, y, x.
struct VoxelGrid {
  std::array<double, 3> size{}, start{};  ///< of a cell; the lowest corner
  std::array<int64_t, 3> cells{};
  int64_t area() const { return cells[0] * cells[1] * cells[2]; }
};
VoxelGrid pillar_grid(const VoxelConfig& config);
/// The same space, each cell cut into `parts` (z, y, x).
VoxelGrid cut_grid(const VoxelGrid& grid, const std::vector<int64_t>& parts);

/// Cell of each point, floor((p - start) / size) in float32 as the official code has it: [P, 3] int64 (z, y,
/// x); -1 in all three for points outside of the grid or not finite. points [P, F >= 3]: x, y, z first.
Tensor voxel_coordinates(const Tensor& points, const VoxelGrid& grid);

/// Items that share a key.
struct Groups {
  Tensor keys;   ///< [V] int64, rising
  Tensor of;     ///< [P] int64: the group of each item; -1 where its key is -1
  Tensor count;  ///< [V] int64
};
/// keys [P] int64 in -1 .. limit-1; -1 belongs to no group. On a CPU: a radix sort by the keys' high part,
/// shards shared out to the threads; the result depends on nothing but the keys.
Groups group_by_key(const Tensor& keys, int64_t limit);

/// Sums of the rows of each group. values [P, D], of [P] without -1 -> [groups, D].
Tensor group_sums(const Tensor& values, const Tensor& of, int64_t groups);

/// The non-empty pillars of a batch of clouds.
struct Pillars {
  VoxelGrid grid;
  int64_t clouds = 0;  ///< B
  Tensor points;       ///< [P, F]: those inside of the grid
  Tensor batch;        ///< [P] int64: cloud of each
  Tensor source;       ///< [P] int64: row of each in the points given, clouds one after the other
  Tensor of;           ///< [P] int64: pillar of each
  Tensor coords;       ///< [V, 4] int64: cloud, z, y, x; in this (lexicographic) order
  Tensor count;        ///< [V] int64: points of each
  Tensor table;        ///< [B * y * x] int64: the pillar there, or -1
  int64_t size() const { return coords.size(0); }  ///< V
  /// Pillars of each cloud, [B] on the host.
  std::vector<int64_t> per_cloud() const;
};
/// points [P, F] of all clouds, batch [P] int64. The grid is one cell high.
Pillars make_pillars(const Tensor& points, const Tensor& batch, int64_t clouds, const VoxelGrid& grid);
/// points [B, N, F], count [B] -> the same.
Pillars make_pillars(const Tensor& points, const Tensor& count, const VoxelGrid& grid);

/// [V] bool: pillars that hold a point with a label. point_label [B, N], -1: none.
Tensor labelled_pillars(const Pillars& pillars, const Tensor& point_label);

}  // namespace lacuna::nn
