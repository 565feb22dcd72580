#pragma once
// synthetic:terrain: smooth hills as points, whose normals are known everywhere.

#include <array>

#include "lacuna/core/draws.h"
#include "lacuna/io/points.h"

namespace lacuna::data {

/// A height field: three waves of 4 to 8 m whose steepest slopes are 0.2 to 0.5, about 2.5 m below the
/// origin.
class Terrain {
 public:
  explicit Terrain(Stream& random);
  double height(double x, double y) const;                 ///< metres
  std::array<double, 3> normal(double x, double y) const;  ///< x, y, z; unit length, upwards

 private:
  struct Wave {
    double along_x, along_y, phase, amplitude;  // radians a metre, radians, metres
  };
  std::array<Wave, 3> waves_{};
};

/// `count` points over 8 m x 8 m, evenly seen from above, with 5 mm of noise. Fields x, y, z. The terrain is
/// the first that `random` draws.
io::Points draw_terrain(int64_t count, Stream random);

}  // namespace lacuna::data
