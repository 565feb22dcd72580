#pragma once
// Colours and surface patterns of drawn pictures.

#include <array>

#include "lacuna/core/draws.h"
#include "lacuna/data/synthetic_shapes.h"

namespace lacuna::data {

/// sRGB, each in [0, 1].
struct Rgb {
  float r = 0, g = 0, b = 0;
};
inline Rgb mix(Rgb a, Rgb b, float t) {
  return {a.r + (b.r - a.r) * t, a.g + (b.g - a.g) * t, a.b + (b.b - a.b) * t};
}
inline Rgb operator*(Rgb a, float s) { return {a.r * s, a.g * s, a.b * s}; }

/// A colour of OKLCh (Ottosson, "A perceptual color space for image processing", 2020), clipped to sRGB.
Rgb oklch(double lightness, double chroma, double hue_radians);

/// Smooth random field with period kCells in both directions: random values on a grid, blended by smoothstep.
class ValueNoise {
 public:
  explicit ValueNoise(Stream& random);
  float operator()(float x, float y) const;  ///< [0, 1), about one feature a unit
  float clouds(float x, float y) const;      ///< two octaves, contrast raised, [0, 1]

 private:
  static constexpr int kCells = 16;
  std::array<float, kCells * kCells> value_;
};

enum class Pattern { kPlain, kStripes, kDots, kChecker, kClouds };
inline constexpr int kPatterns = 5;

/// How far, 0 .. 1, a surface's second colour shows at a point.
class Texture {
 public:
  /// `frequency`: periods a unit. `noise` must outlive the texture.
  Texture(Pattern pattern, double frequency, double angle, double phase, const ValueNoise& noise);
  /// `pixel`: size of a pixel in the units of p; edges are softened over it.
  float operator()(Vec2 p, float pixel) const;

 private:
  Pattern pattern_;
  float frequency_, cos_, sin_, phase_;
  const ValueNoise* noise_;
};

}  // namespace lacuna::data
