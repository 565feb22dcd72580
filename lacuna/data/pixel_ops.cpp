#include "lacuna/data/pixel_ops.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numbers>
#include <numeric>

#include "lacuna/core/error.h"

namespace lacuna::data {

namespace {

using Table = std::array<uint8_t, 256>;  // new level by old level
using Histogram = std::array<int64_t, 256>;

uint8_t clip(double value) { return static_cast<uint8_t>(std::clamp(value, 0.0, 255.0)); }

template <class NewLevel>
Table table_of(NewLevel new_level) {
  Table table;
  for (int64_t level = 0; level < 256; ++level)
    table[static_cast<size_t>(level)] = static_cast<uint8_t>(new_level(level));
  return table;
}

void look_up(Levels& picture, const Table& table) {
  for (uint8_t& value : picture.values) value = table[value];
}

/// Each channel through the table that `make` gives for its histogram.
template <class Make>
void look_up_by_histogram(Levels& picture, Make make) {
  const int64_t channels = picture.channels, count = picture.height * picture.width;
  for (int64_t c = 0; c < channels; ++c) {
    Histogram histogram{};
    uint8_t* value = picture.values.data() + c;
    for (int64_t i = 0; i < count; ++i) ++histogram[value[i * channels]];
    const Table table = make(histogram);
    for (int64_t i = 0; i < count; ++i) value[i * channels] = table[value[i * channels]];
  }
}

int64_t unchanged(int64_t level) { return level; }

Table stretched(const Histogram& histogram) {
  const auto used = [](int64_t count) { return count != 0; };
  const auto low = std::find_if(histogram.begin(), histogram.end(), used) - histogram.begin();
  const auto high = histogram.rend() - std::find_if(histogram.rbegin(), histogram.rend(), used) - 1;
  if (high <= low) return table_of(unchanged);
  const double scale = 255.0 / static_cast<double>(high - low), offset = static_cast<double>(-low) * scale;
  return table_of([&](int64_t level) { return clip(static_cast<double>(level) * scale + offset); });
}

Table flattened(const Histogram& histogram) {
  const auto brightest = std::find_if(histogram.rbegin(), histogram.rend(), [](int64_t n) { return n != 0; });
  const int64_t total = std::accumulate(histogram.begin(), histogram.end(), int64_t{0});
  const int64_t step = brightest == histogram.rend() ? 0 : (total - *brightest) / 255;
  if (step == 0) return table_of(unchanged);
  int64_t below = step / 2;
  return table_of([&](int64_t level) {
    const int64_t out = std::min<int64_t>(below / step, 255);
    below += histogram[static_cast<size_t>(level)];
    return out;
  });
}

// Image.blend: in float, truncated.
uint8_t blend(int degenerate, int level, float factor) {
  const float value = static_cast<float>(degenerate) + factor * static_cast<float>(level - degenerate);
  return static_cast<uint8_t>(static_cast<int>(std::min(std::max(value, 0.0F), 255.0F)));
}

/// Towards or away from the picture in `spare`.
void blend_with_spare(Levels& picture, double factor) {
  const auto alpha = static_cast<float>(factor);
  const uint8_t* degenerate = picture.spare.data();
  uint8_t* value = picture.values.data();
  const size_t count = picture.values.size();
  for (size_t i = 0; i < count; ++i) value[i] = blend(degenerate[i], value[i], alpha);
}

/// Towards or away from one level.
void blend_with_level(Levels& picture, int degenerate, double factor) {
  const auto alpha = static_cast<float>(factor);
  look_up(picture,
          table_of([&](int64_t level) { return blend(degenerate, static_cast<int>(level), alpha); }));
}

/// ITU-R 601 in 16-bit fixed point, Pillow's "L".
int grey(const uint8_t* rgb) { return (rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 0x8000) >> 16; }

/// Pillow's mean grey level, rounded.
int mean_grey(const Levels& picture) {
  const int64_t count = picture.height * picture.width;
  int64_t sum = 0;
  if (picture.channels == 1)
    sum = std::accumulate(picture.values.begin(), picture.values.end(), int64_t{0});
  else
    for (int64_t i = 0; i < count; ++i) sum += grey(picture.values.data() + i * 3);
  return static_cast<int>(std::floor(static_cast<double>(sum) / static_cast<double>(count) + 0.5));
}

// Python's round(value, 15): the nearest decimal, of the exact binary value.
double round_15(double value) {
  char text[40];
  std::snprintf(text, sizeof(text), "%.15f", value);
  return std::strtod(text, nullptr);
}

// Pillow's order of operations: results are truncated, so that the last bit can show.
double linear(double v1, double v2, double d) { return v1 + (v2 - v1) * d; }
double cubic(double v1, double v2, double v3, double v4, double d) {
  const double p2 = -v1 + v3, p3 = 2 * (v1 - v2) + v3 - v4, p4 = -v1 + v2 - v3 + v4;
  return v2 + d * (p2 + d * (p3 + d * p4));
}

template <class T>
T stored(double value) {
  if constexpr (std::is_same_v<T, uint8_t>)
    return clip(value);
  else
    return static_cast<T>(value);
}

/// Along a row or a column, between the values at these offsets.
template <int kTaps, class V>
double interpolate(const V* v, const int64_t* offset, double d) {
  if constexpr (kTaps == 2)
    return linear(v[offset[0]], v[offset[1]], d);
  else
    return cubic(v[offset[0]], v[offset[1]], v[offset[2]], v[offset[3]], d);
}

/// The value at (x, y), pixel centres at whole numbers, of kLanes channels from `in` on.
template <class T, int kLanes, int kTaps>
void sample(const Pixels<T>& picture, const T* in, double x, double y, T* out) {
  constexpr int kHere = kTaps / 2 - 1;  // the tap that alone counts where the place is right on it
  // x, y >= -0.5, so that this is floor, without a call.
  const int64_t left = x < 0 ? -1 : static_cast<int64_t>(x), top = y < 0 ? -1 : static_cast<int64_t>(y);
  const double dx = x - static_cast<double>(left), dy = y - static_cast<double>(top);
  int64_t columns[kTaps], rows[kTaps];
  for (int k = 0; k < kTaps; ++k) {
    columns[k] = std::clamp<int64_t>(left - kHere + k, 0, picture.width - 1) * picture.channels;
    rows[k] = std::clamp<int64_t>(top - kHere + k, 0, picture.height - 1) * picture.width * picture.channels;
  }
  for (int c = 0; c < kLanes; ++c, ++in) {
    if (dy == 0) {
      out[c] = stored<T>(interpolate<kTaps>(in + rows[kHere], columns, dx));
    } else if (dx == 0) {
      out[c] = stored<T>(interpolate<kTaps>(in + columns[kHere], rows, dy));
    } else {
      constexpr int64_t kInOrder[] = {0, 1, 2, 3};
      double down[kTaps];
      for (int k = 0; k < kTaps; ++k) down[k] = interpolate<kTaps>(in + rows[k], columns, dx);
      out[c] = stored<T>(interpolate<kTaps>(down, kInOrder, dy));
    }
  }
}

/// kLanes channels from `channel` on.
template <class T, int kLanes, int kTaps>
void warp_channels(Pixels<T>& picture, const Affine& map, const std::vector<T>& fill, int64_t channel) {
  const auto width = static_cast<double>(picture.width), height = static_cast<double>(picture.height);
  const T* in = picture.values.data() + channel;
  T* out = picture.spare.data() + channel;
  for (int64_t row = 0; row < picture.height; ++row) {
    const double y = static_cast<double>(row) + 0.5;
    for (int64_t column = 0; column < picture.width; ++column, out += picture.channels) {
      const double x = static_cast<double>(column) + 0.5;
      const double from_x = map.a * x + map.b * y + map.c, from_y = map.d * x + map.e * y + map.f;
      if (from_x >= 0 && from_x < width && from_y >= 0 && from_y < height)
        sample<T, kLanes, kTaps>(picture, in, from_x - 0.5, from_y - 0.5, out);
      else
        std::copy_n(fill.data() + channel, kLanes, out);
    }
  }
}

template <class T, int kTaps>
void warp_as(Pixels<T>& picture, const Affine& map, const std::vector<T>& fill) {
  if (picture.channels == 3) return warp_channels<T, 3, kTaps>(picture, map, fill, 0);
  for (int64_t c = 0; c < picture.channels; ++c) warp_channels<T, 1, kTaps>(picture, map, fill, c);
}

}  // namespace

void auto_contrast(Levels& picture) { look_up_by_histogram(picture, stretched); }

void equalize(Levels& picture) { look_up_by_histogram(picture, flattened); }

void invert(Levels& picture) { solarize(picture, 0); }

void posterize(Levels& picture, int64_t bits) {
  LACUNA_ASSERT(bits >= 0 && bits <= 8);
  look_up(picture,
          table_of([mask = ~((int64_t{1} << (8 - bits)) - 1)](int64_t level) { return level & mask; }));
}

void solarize(Levels& picture, int64_t threshold) {
  look_up(picture, table_of([&](int64_t level) { return level < threshold ? level : 255 - level; }));
}

void solarize_add(Levels& picture, int64_t add) {
  look_up(picture,
          table_of([&](int64_t level) { return level < 128 ? std::min<int64_t>(255, level + add) : level; }));
}

void color(Levels& picture, double factor) {
  if (picture.channels == 1) return;
  LACUNA_ASSERT(picture.channels == 3);
  picture.spare.resize(picture.values.size());
  const uint8_t* in = picture.values.data();
  uint8_t* out = picture.spare.data();
  for (int64_t i = 0; i < picture.height * picture.width; ++i, in += 3, out += 3)
    out[0] = out[1] = out[2] = static_cast<uint8_t>(grey(in));
  blend_with_spare(picture, factor);
}

void contrast(Levels& picture, double factor) {
  LACUNA_ASSERT(picture.channels == 1 || picture.channels == 3);
  blend_with_level(picture, mean_grey(picture), factor);
}

void brightness(Levels& picture, double factor) { blend_with_level(picture, 0, factor); }

void sharpness(Levels& picture, double factor) {
  const int64_t channels = picture.channels, stride = picture.width * channels;
  picture.spare = picture.values;  // the outermost pixels stay
  for (int64_t y = 1; y + 1 < picture.height; ++y) {
    const uint8_t* in = picture.values.data() + y * stride;
    uint8_t* out = picture.spare.data() + y * stride;
    for (int64_t i = channels; i < stride - channels; ++i) {
      const auto row_sum = [&](const uint8_t* value) {
        return value[-channels] + value[0] + value[channels];
      };
      // ImageFilter.SMOOTH, (1 1 1, 1 5 1, 1 1 1) / 13, rounded.
      const int sum = row_sum(in + i - stride) + row_sum(in + i) + row_sum(in + i + stride) + 4 * in[i];
      out[i] = static_cast<uint8_t>((2 * sum + 13) / 26);
    }
  }
  blend_with_spare(picture, factor);
}

Affine rotation(double degrees, Size2 size) {
  double turn = std::fmod(degrees, 360.0);
  if (turn < 0) turn += 360.0;
  const double angle = -(turn * (std::numbers::pi / 180)), cx = static_cast<double>(size.w) / 2,
               cy = static_cast<double>(size.h) / 2;
  Affine map{round_15(std::cos(angle)),  round_15(std::sin(angle)), 0,
             round_15(-std::sin(angle)), round_15(std::cos(angle)), 0};
  map.c = map.a * -cx + map.b * -cy + cx;
  map.f = map.d * -cx + map.e * -cy + cy;
  return map;
}

template <class T>
void warp(Pixels<T>& picture, const Affine& map, Interpolation interpolation, const std::vector<T>& fill) {
  LACUNA_ASSERT(std::ssize(fill) == picture.channels);
  picture.spare.resize(picture.values.size());
  interpolation == Interpolation::kBicubic ? warp_as<T, 4>(picture, map, fill)
                                           : warp_as<T, 2>(picture, map, fill);
  std::swap(picture.values, picture.spare);
}
template void warp(Levels&, const Affine&, Interpolation, const std::vector<uint8_t>&);
template void warp(Pixels<float>&, const Affine&, Interpolation, const std::vector<float>&);

}  // namespace lacuna::data
