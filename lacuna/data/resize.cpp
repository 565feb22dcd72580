#include "lacuna/data/resize.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "lacuna/core/error.h"

namespace lacuna::data {

namespace {

/// The source pixels that one output pixel averages: `count` weights for first, first + 1, ...
struct Taps {
  int64_t first = 0, count = 0;
  const float* weight = nullptr;
};

double triangle(double x) { return std::max(0.0, 1.0 - std::abs(x)); }

// Keys (1981), "Cubic convolution interpolation", with a = -0.5.
double cubic(double x) {
  x = std::abs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  if (x < 2) return ((-0.5 * x + 2.5) * x - 4) * x + 2;
  return 0;
}

/// The taps of output pixels first .. first+count-1 when `from` pixels become `to`.
class Filter {
 public:
  enum Weights { kFloat, kBits16, kBits22 };

  Filter(int64_t from, int64_t to, int64_t first, int64_t count, Interpolation interpolation, Weights kind) {
    const bool bicubic = interpolation == Interpolation::kBicubic;
    const double scale = static_cast<double>(from) / static_cast<double>(to);
    const double stretch = std::max(scale, 1.0), support = (bicubic ? 2.0 : 1.0) * stretch;
    const auto width = static_cast<int64_t>(std::ceil(support)) * 2 + 1;
    weights_.resize(static_cast<size_t>(width * count));
    taps_.resize(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
      const double center = scale * (static_cast<double>(first + i) + 0.5);
      const int64_t low = std::max<int64_t>(static_cast<int64_t>(center - support + 0.5), 0);
      const int64_t high = std::min(static_cast<int64_t>(center + support + 0.5), from);
      float* weight = weights_.data() + i * width;
      double total = 0;
      for (int64_t j = low; j < high; ++j) {
        const double x = (static_cast<double>(j) - center + 0.5) / stretch;
        total += bicubic ? cubic(x) : triangle(x);
      }
      for (int64_t j = low; j < high; ++j) {
        const double x = (static_cast<double>(j) - center + 0.5) / stretch;
        const double value = (bicubic ? cubic(x) : triangle(x)) / total;
        weight[j - low] = static_cast<float>(kind == kBits22 ? std::round(value * 0x1p22) * 0x1p-22 : value);
      }
      taps_[i] = {low, high - low, weight};
    }
    if (kind == kBits16) quantise();
  }
  const Taps& operator[](int64_t i) const { return taps_[static_cast<size_t>(i)]; }
  int64_t begin() const { return taps_.front().first; }
  int64_t end() const { return taps_.back().first + taps_.back().count; }

 private:
  /// Rounds the weights as torchvision's uint8 kernels do: to as many bits behind the point as leave the
  /// largest within 16 bits.
  void quantise() {
    const float largest = *std::max_element(weights_.begin(), weights_.end());
    float unit = 2;
    for (int bits = 1; bits < 22 && largest * unit * 2 + 0.5F < 32768; ++bits) unit *= 2;
    for (float& weight : weights_) weight = std::round(weight * unit) / unit;
  }

  std::vector<float> weights_;
  std::vector<Taps> taps_;
};

/// One row of output pixels. kChannels 0: any number. Sum: float, or double, which holds sums of levels times
/// weights of 22 bits without rounding.
template <class T, class Sum, int kChannels>
void filter_columns(const T* row, const Filter& filter, int64_t width, int64_t any_channels, Sum* out) {
  const int64_t channels = kChannels == 0 ? any_channels : kChannels;
  for (int64_t x = 0; x < width; ++x, out += channels) {
    const Taps& taps = filter[x];
    const T* pixel = row + taps.first * channels;
    for (int64_t c = 0; c < channels; ++c) {
      Sum sum = 0;
      for (int64_t k = 0; k < taps.count; ++k)
        sum += taps.weight[k] * static_cast<Sum>(pixel[k * channels + c]);
      out[c] = sum;
    }
  }
}

template <class T, class Sum>
auto columns_for(int64_t channels) {
  if (channels == 1) return filter_columns<T, Sum, 1>;
  return channels == 3 ? filter_columns<T, Sum, 3> : filter_columns<T, Sum, 0>;
}

/// out[i] = sum over the taps of weight * row[i], for whole rows of n values: the loop that the compiler
/// vectorises.
template <class Sum>
void filter_rows(const Sum* rows, const Taps& taps, int64_t n, Sum* out) {
  std::fill(out, out + n, Sum{0});
  for (int64_t k = 0; k < taps.count; ++k) {
    const Sum* row = rows + k * n;
    const Sum weight = taps.weight[k];
    for (int64_t i = 0; i < n; ++i) out[i] += weight * row[i];
  }
}

/// To whole levels 0 .. 255, halves upwards.
template <class Sum>
void round_levels(Sum* values, int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    values[i] = static_cast<Sum>(static_cast<int32_t>(std::clamp(values[i], Sum{0}, Sum{255}) + Sum{0.5}));
}

template <class T, class Sum>
std::vector<Sum> resample_as(const at::Tensor& pixels, const Resampling& what) {
  constexpr bool kLevels = std::is_same_v<T, uint8_t>;
  constexpr auto kWeights = !kLevels                      ? Filter::kFloat
                            : std::is_same_v<Sum, double> ? Filter::kBits22
                                                          : Filter::kBits16;
  const int64_t channels = pixels.size(2), stride = pixels.size(1) * channels,
                n = what.window.width * channels;
  const Filter vertical(what.crop.height, what.full.h, what.window.top, what.window.height,
                        what.interpolation, kWeights);
  const Filter horizontal(what.crop.width, what.full.w, what.window.left, what.window.width,
                          what.interpolation, kWeights);
  // Only the source rows that the window reads.
  const int64_t first = vertical.begin(), height = vertical.end() - first;
  const T* source = pixels.const_data_ptr<T>() + (what.crop.top + first) * stride + what.crop.left * channels;
  const auto filter_row = columns_for<T, Sum>(channels);
  std::vector<Sum> narrowed(static_cast<size_t>(height * n));
  for (int64_t y = 0; y < height; ++y) {
    Sum* row = narrowed.data() + y * n;
    filter_row(source + y * stride, horizontal, what.window.width, channels, row);
    if (kLevels) round_levels(row, n);
  }
  std::vector<Sum> out(static_cast<size_t>(what.window.height * n));
  for (int64_t y = 0; y < what.window.height; ++y) {
    Sum* row = out.data() + y * n;
    filter_rows(narrowed.data() + (vertical[y].first - first) * n, vertical[y], n, row);
    if (kLevels) round_levels(row, n);
  }
  return out;
}

}  // namespace

std::vector<float> resample(const at::Tensor& pixels, const Resampling& what) {
  const io::Rect &crop = what.crop, &window = what.window;
  LACUNA_ASSERT(pixels.dim() == 3 && pixels.is_contiguous());
  LACUNA_ASSERT(crop.top >= 0 && crop.left >= 0 && crop.height > 0 && crop.width > 0);
  LACUNA_ASSERT(crop.top + crop.height <= pixels.size(0) && crop.left + crop.width <= pixels.size(1));
  LACUNA_ASSERT(window.top >= 0 && window.left >= 0 && window.height > 0 && window.width > 0);
  LACUNA_ASSERT(window.top + window.height <= what.full.h && window.left + window.width <= what.full.w);
  if (pixels.scalar_type() == at::kFloat) return resample_as<float, float>(pixels, what);
  LACUNA_ASSERT(pixels.scalar_type() == at::kByte);
  if (!what.pillow) return resample_as<uint8_t, float>(pixels, what);
  const auto levels = resample_as<uint8_t, double>(pixels, what);
  return {levels.begin(), levels.end()};
}

at::Tensor resize(const at::Tensor& pixels, const io::Rect& crop, Size2 size, Interpolation interpolation) {
  const auto values = resample(pixels, {crop, size, {0, 0, size.h, size.w}, interpolation});
  auto out = at::empty({size.h, size.w, pixels.size(2)}, pixels.options());
  if (pixels.scalar_type() == at::kByte)
    std::transform(values.begin(), values.end(), out.mutable_data_ptr<uint8_t>(),
                   [](float value) { return static_cast<uint8_t>(value); });
  else
    std::copy(values.begin(), values.end(), out.mutable_data_ptr<float>());
  return out;
}

}  // namespace lacuna::data
