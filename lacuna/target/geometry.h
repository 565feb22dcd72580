#pragma once
// What GeoMAE predicts of a pillar (Tian et al., CVPR 2023, section 3.2): centroids of its parts, which parts
// are occupied, the normal and the curvature of the surface around it. Vectors are ordered z, y, x; no
// gradients.

#include <torch/types.h>

#include <string>
#include <vector>

#include "lacuna/nn/voxels.h"

namespace lacuna::target {

using torch::Tensor;

/// The occupied parts of pillars. S parts a pillar, z slowest, then y, then x.
struct SubVoxels {
  int64_t parts = 0;   ///< S
  nn::VoxelGrid grid;  ///< of the parts
  Tensor place;        ///< [O] int64, rising: pillar * S + part
  Tensor cell;         ///< [O, 3] int64: z, y, x on `grid`
  Tensor centroid;     ///< [O, 3] double: of their points, metres
  Tensor count;        ///< [O] int64: points
  /// Centroids in units of the part, from its lowest corner: [O, 3] float32 in [0, 1].
  Tensor normalised() const;
  /// [pillars, S] bool.
  Tensor occupied(int64_t pillars) const;
};
/// Cells [O, 3] on the grid of the parts: pillars' cells [O, 3] (z, y, x), numbers of parts in them [O].
Tensor part_cells(const Tensor& pillar, const Tensor& part, const std::vector<int64_t>& parts);
/// `parts`: along z, y, x. `rows` [H]: only these pillars, numbered in this order; undefined: all.
SubVoxels sub_voxels(const nn::Pillars& pillars, const std::vector<int64_t>& parts, const Tensor& rows = {});

/// Of the surface around each of H pillars.
struct Surface {
  Tensor normal;     ///< [H, 3] float32, unit length; its sign is arbitrary
  Tensor curvature;  ///< [H, 3] float32: shares of the three axes of spread, descending
  Tensor gap;        ///< [H] float32: (second - third) / first spread; near 0 the normal is arbitrary
};
/// C = sum of d d^T over the centroids (of `med`, all pillars' parts) in the pillar and its eight neighbours,
/// d taken from the centroid of the pillar's own points; the normal is the axis of the least spread.
Surface surfaces(const nn::Pillars& pillars, const SubVoxels& med, const Tensor& rows);
/// [V, 3] double: of each pillar's points.
Tensor pillar_centroids(const nn::Pillars& pillars);
/// The same in units of the pillar, from its lowest corner: [V, 3] float32.
Tensor normalised_centroids(const nn::Pillars& pillars);

/// The normals turned "up" (positive z), towards the "sensor" (the origin), or "as-is". normal, at [H, 3].
Tensor oriented(const Tensor& normal, const Tensor& at, const std::string& rule);

/// Eigenvalues, descending, and eigenvectors in the columns of symmetric matrices, by Jacobi's rotations.
struct Eigen3 {
  Tensor values, vectors;  ///< [N, 3], [N, 3, 3]
};
/// matrices [N, 3, 3] double.
Eigen3 symmetric_eigen(const Tensor& matrices);

}  // namespace lacuna::target
