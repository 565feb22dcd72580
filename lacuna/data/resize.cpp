#include "lacuna/data/resize.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

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
  Filter(int64_t from, int64_t to, int64_t first, int64_t count, Interpolation interpolation) {
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
        weight[j - low] = static_cast<float>((bicubic ? cubic(x) : triangle(x)) / total);
      }
      taps_[i] = {low, high - low, weight};
    }
  }
  const Taps& operator[](int64_t i) const { return taps_[static_cast<size_t>(i)]; }
  int64_t begin() const { return taps_.front().first; }
  int64_t end() const { return taps_.back().first + taps_.back().count; }

 private:
  std::vector<float> weights_;
  std::vector<Taps> taps_;
};

/// out[i] = sum over the taps of weight * row[i], for whole rows of n values: the loop that the compiler
/// vectorises.
template <class T>
void filter_rows(const T* first_row, int64_t stride, const Taps& taps, int64_t n, float* out) {
  std::fill(out, out + n, 0.0F);
  int64_t k = 0;
  for (; k + 1 < taps.count; k += 2) {
    const T *a = first_row + k * stride, *b = a + stride;
    const float wa = taps.weight[k], wb = taps.weight[k + 1];
    for (int64_t i = 0; i < n; ++i) out[i] += wa * static_cast<float>(a[i]) + wb * static_cast<float>(b[i]);
  }
  if (k < taps.count) {
    const T* a = first_row + k * stride;
    const float wa = taps.weight[k];
    for (int64_t i = 0; i < n; ++i) out[i] += wa * static_cast<float>(a[i]);
  }
}

/// One row of output pixels; `row` starts at source column `origin`. kChannels 0: any number.
template <int kChannels>
void filter_columns(const float* row, int64_t origin, const Filter& filter, int64_t width,
                    int64_t any_channels, float* out) {
  const int64_t channels = kChannels == 0 ? any_channels : kChannels;
  for (int64_t x = 0; x < width; ++x, out += channels) {
    const Taps& taps = filter[x];
    const float* pixel = row + (taps.first - origin) * channels;
    for (int64_t c = 0; c < channels; ++c) {
      float sum = 0;
      for (int64_t k = 0; k < taps.count; ++k) sum += taps.weight[k] * pixel[k * channels + c];
      out[c] = sum;
    }
  }
}

using FilterColumns = void (*)(const float*, int64_t, const Filter&, int64_t, int64_t, float*);
FilterColumns columns_for(int64_t channels) {
  if (channels == 1) return filter_columns<1>;
  if (channels == 3) return filter_columns<3>;
  return filter_columns<0>;
}

template <class T>
std::vector<float> resample_as(const at::Tensor& pixels, const Resampling& what) {
  const int64_t channels = pixels.size(2), stride = pixels.size(1) * channels;
  const Filter vertical(what.crop.height, what.full.h, what.window.top, what.window.height,
                        what.interpolation);
  const Filter horizontal(what.crop.width, what.full.w, what.window.left, what.window.width,
                          what.interpolation);
  // Only the source columns that the window reads.
  const int64_t origin = horizontal.begin(), n = (horizontal.end() - origin) * channels;
  const T* corner =
      pixels.const_data_ptr<T>() + what.crop.top * stride + (what.crop.left + origin) * channels;
  const FilterColumns filter_row = columns_for(channels);
  std::vector<float> row(static_cast<size_t>(n));
  std::vector<float> out(static_cast<size_t>(what.window.height * what.window.width * channels));
  for (int64_t y = 0; y < what.window.height; ++y) {
    filter_rows(corner + vertical[y].first * stride, stride, vertical[y], n, row.data());
    filter_row(row.data(), origin, horizontal, what.window.width, channels,
               out.data() + y * what.window.width * channels);
  }
  return out;
}

/// Rounds half to even and clamps to 0 .. 255. Adding 1.5 * 2^23 leaves no fraction bits: rounding in two
/// additions, which vectorises where nearbyint does not.
void round_levels(std::vector<float>& values) {
  constexpr float kMagic = 12582912.0F;
  for (float& value : values) value = std::clamp((value + kMagic) - kMagic, 0.0F, 255.0F);
}

}  // namespace

std::vector<float> resample(const at::Tensor& pixels, const Resampling& what) {
  const io::Rect &crop = what.crop, &window = what.window;
  LACUNA_ASSERT(pixels.dim() == 3 && pixels.is_contiguous());
  LACUNA_ASSERT(crop.top >= 0 && crop.left >= 0 && crop.height > 0 && crop.width > 0);
  LACUNA_ASSERT(crop.top + crop.height <= pixels.size(0) && crop.left + crop.width <= pixels.size(1));
  LACUNA_ASSERT(window.top >= 0 && window.left >= 0 && window.height > 0 && window.width > 0);
  LACUNA_ASSERT(window.top + window.height <= what.full.h && window.left + window.width <= what.full.w);
  if (pixels.scalar_type() == at::kFloat) return resample_as<float>(pixels, what);
  LACUNA_ASSERT(pixels.scalar_type() == at::kByte);
  auto out = resample_as<uint8_t>(pixels, what);
  round_levels(out);
  return out;
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
