#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <vector>

#include "lacuna/data/synthetic.h"
#include "lacuna/data/synthetic_texture.h"

namespace lacuna::data {

const char* const kBandClassNames[kBandClasses] = {"waves", "spots", "cells", "clouds"};

namespace {

constexpr int kFields = 3;

// One hidden field of the texture `label`; values about [0, 1].
float field_value(int64_t label, const ValueNoise& noise, float x, float y) {
  const float bend = noise(0.7F * x + 3, 0.7F * y) - 0.5F;
  switch (label) {
    case 0:
      return 0.5F + 0.5F * std::sin(2.5F * x + 5 * bend);
    case 1: {
      const float wave = std::sin(2.2F * x + 2 * bend) * std::sin(2.2F * y - 2 * bend);
      return std::clamp(2.5F * wave - 0.5F, 0.0F, 1.0F);
    }
    case 2:
      return std::clamp(5 * std::abs(noise(x, y) - 0.5F), 0.0F, 1.0F);
    default:
      return noise.clouds(0.7F * x, 0.7F * y);
  }
}

// How much of each hidden field a band sees: a bell over the band's place in the spectrum.
std::array<float, kFields> response(int64_t band, int64_t channels, const std::array<float, kFields>& peak) {
  const float place = (static_cast<float>(band) + 0.5F) / static_cast<float>(channels);
  std::array<float, kFields> weight{};
  float sum = 0.2F;
  for (int k = 0; k < kFields; ++k) {
    const float off = (place - peak[k]) / 0.3F;
    weight[k] = std::exp(-off * off);
    sum += weight[k];
  }
  for (auto& w : weight) w /= sum;
  return weight;
}

}  // namespace

at::Tensor draw_bands(Size2 size, int64_t channels, int64_t label, Stream random) {
  const ValueNoise noise(random);
  const double angle = random.uniform(0, 2 * std::numbers::pi), scale = random.uniform(5, 9);
  std::array<float, kFields> peak{}, shift{};
  for (int k = 0; k < kFields; ++k) {
    peak[k] = static_cast<float>(random.uniform());
    shift[k] = static_cast<float>(random.uniform(0, 16));
  }
  std::vector<std::array<float, kFields>> weights;
  for (int64_t band = 0; band < channels; ++band) weights.push_back(response(band, channels, peak));

  const auto unit = static_cast<float>(std::min(size.h, size.w));
  const auto turn_x = static_cast<float>(std::cos(angle) * scale) / unit;
  const auto turn_y = static_cast<float>(std::sin(angle) * scale) / unit;
  auto pixels = at::empty({size.h, size.w, channels}, at::kByte);
  auto* out = pixels.mutable_data_ptr<uint8_t>();
  for (int64_t row = 0; row < size.h; ++row) {
    for (int64_t column = 0; column < size.w; ++column) {
      const auto r = static_cast<float>(row), c = static_cast<float>(column);
      const float x = turn_x * c + turn_y * r, y = turn_x * r - turn_y * c;
      std::array<float, kFields> field{};
      for (int k = 0; k < kFields; ++k) field[k] = field_value(label, noise, x + shift[k], y + shift[k]);
      for (const auto& weight : weights) {
        float value = 0.1F;
        for (int k = 0; k < kFields; ++k) value += 0.8F * weight[k] * field[k];
        *out++ = static_cast<uint8_t>(255 * std::clamp(value, 0.0F, 1.0F) + 0.5F);
      }
    }
  }
  return pixels;
}

}  // namespace lacuna::data
