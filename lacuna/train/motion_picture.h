#pragma once
// Motions as pictures: stick figures seen from the side, side by side in time or one after the other.

#include <cstdint>
#include <string>
#include <vector>

#include "lacuna/method/method.h"

namespace lacuna::train {

/// One stick figure for each pose: poses [N, J, 3], `parents` by joint, `seen` [N]: drawn dark, the others in
/// colour; `size` pixels high and wide; `radius`: metres (or what the unit is) shown above and below the
/// root.
/// -> [N, size, size, 3] uint8.
Tensor draw_poses(const Tensor& poses, const std::vector<int64_t>& parents, const std::vector<bool>& seen,
                  int64_t size, double radius);
/// What fits all motions [..., J, 3]: the largest coordinate.
double motion_radius(const Tensor& motion);

/// [H, W, 3] uint8: a pair of rows for each motion: the true one and a predicted one, some frames from left
/// to right, the observed ones first.
Tensor motion_panel(const Preview& preview, const std::vector<int64_t>& parents);

/// [T, H, W, 3] uint8: the true motion [T, J, 3], and beside it the first of its futures [K, T, J, 3], of
/// which the first `observed` frames were seen.
Tensor motion_animation(const Tensor& truth, const Tensor& futures, const std::vector<int64_t>& parents,
                        int64_t observed);

}  // namespace lacuna::train
