#include "lacuna/data/synthetic_texture.h"

#include <algorithm>
#include <cmath>

namespace lacuna::data {

namespace {

// std::floor is a library call on baseline x86-64.
int floor_to_int(float x) {
  const int truncated = static_cast<int>(x);
  return truncated - static_cast<int>(x < static_cast<float>(truncated));
}

float fraction(float x) { return x - static_cast<float>(floor_to_int(x)); }

// A square wave of period 1 between 0 and 1, its edges softened over `width`.
float square_wave(float x, float width) {
  const float from_crest = std::abs(fraction(x) - 0.5F);
  return std::clamp((0.25F - from_crest) / width + 0.5F, 0.0F, 1.0F);
}

float gamma_encoded(double linear) {
  const double x = std::clamp(linear, 0.0, 1.0);
  return static_cast<float>(x <= 0.0031308 ? 12.92 * x : 1.055 * std::pow(x, 1 / 2.4) - 0.055);
}

}  // namespace

Rgb oklch(double lightness, double chroma, double hue_radians) {
  const double a = chroma * std::cos(hue_radians), b = chroma * std::sin(hue_radians);
  const auto cube = [](double x) { return x * x * x; };
  const double l = cube(lightness + 0.3963377774 * a + 0.2158037573 * b);
  const double m = cube(lightness - 0.1055613458 * a - 0.0638541728 * b);
  const double s = cube(lightness - 0.0894841775 * a - 1.2914855480 * b);
  return {gamma_encoded(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
          gamma_encoded(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
          gamma_encoded(-0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s)};
}

ValueNoise::ValueNoise(Stream& random) {
  for (auto& value : value_) value = static_cast<float>(random.bits() >> 8) * 0x1.0p-24F;
}

float ValueNoise::operator()(float x, float y) const {
  const int column = floor_to_int(x), row = floor_to_int(y);
  const auto smooth = [](float t) { return t * t * (3 - 2 * t); };
  const float u = smooth(x - static_cast<float>(column)), v = smooth(y - static_cast<float>(row));
  constexpr int kMask = kCells - 1;
  const float* upper = &value_[(row & kMask) * kCells];
  const float* lower = &value_[((row + 1) & kMask) * kCells];
  const int left = column & kMask, right = (column + 1) & kMask;
  const float above = upper[left] + (upper[right] - upper[left]) * u;
  const float below = lower[left] + (lower[right] - lower[left]) * u;
  return above + (below - above) * v;
}

float ValueNoise::clouds(float x, float y) const {
  const float sum = (2 * (*this)(x, y) + (*this)(2 * x + 5.3F, 2 * y + 2.7F)) / 3;
  return std::clamp(1.7F * (sum - 0.5F) + 0.5F, 0.0F, 1.0F);
}

Texture::Texture(Pattern pattern, double frequency, double angle, double phase, const ValueNoise& noise)
    : pattern_(pattern),
      frequency_(static_cast<float>(frequency)),
      cos_(static_cast<float>(std::cos(angle))),
      sin_(static_cast<float>(std::sin(angle))),
      phase_(static_cast<float>(phase)),
      noise_(&noise) {}

float Texture::operator()(Vec2 p, float pixel) const {
  if (pattern_ == Pattern::kPlain) return 0;
  const float x = frequency_ * (cos_ * p.x + sin_ * p.y) + phase_,
              y = frequency_ * (cos_ * p.y - sin_ * p.x) + phase_;
  const float width = frequency_ * pixel;
  switch (pattern_) {
    case Pattern::kStripes:
      return square_wave(x, width);
    case Pattern::kDots: {
      const float u = fraction(x) - 0.5F, v = fraction(y) - 0.5F;
      return std::clamp((0.3F - std::sqrt(u * u + v * v)) / width + 0.5F, 0.0F, 1.0F);
    }
    case Pattern::kChecker: {
      const float u = square_wave(0.5F * x, 0.5F * width), v = square_wave(0.5F * y, 0.5F * width);
      return u + v - 2 * u * v;
    }
    default:
      return noise_->clouds(x, y);
  }
}

}  // namespace lacuna::data
