#pragma once

namespace lacuna::data {

/// How a value between pixels is made of its neighbours: 2 x 2 or 4 x 4 of them.
enum class Interpolation { kBilinear, kBicubic };

}  // namespace lacuna::data
