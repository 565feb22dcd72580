#pragma once
// Moves of points between frames (sensor, camera, world, box) and onto a picture.

#include <array>

namespace lacuna::data {

/// 3 x 4, row by row; acts on (x, y, z, 1).
using Matrix3x4 = std::array<double, 12>;

/// first, then second.
Matrix3x4 chained(const Matrix3x4& second, const Matrix3x4& first);
/// Of a rotation and a move.
Matrix3x4 inverse(const Matrix3x4& rigid);
std::array<double, 3> applied(const Matrix3x4& matrix, const float* xyz);

}  // namespace lacuna::data
