#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "lacuna/core/error.h"
#include "lacuna/mask/segments.h"

namespace lacuna::mask {

namespace {

/// The pixels as points of place and colour, and what each sees within its window.
class Shift {
 public:
  Shift(const at::Tensor& colour, Size2 size, double kernel_size)
      : colour_(colour), size_(size), kernel_size_(kernel_size) {
    LACUNA_ASSERT(colour_.is_contiguous());
  }

  /// Of each pixel: the sum over its window of exp(-d^2 / 2 kernel_size^2).
  std::vector<double> densities() const {
    std::vector<double> out(static_cast<size_t>(size_.area()));
    const double scale = -0.5 / (kernel_size_ * kernel_size_);
    at::parallel_for(0, size_.area(), kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t pixel = begin; pixel < end; ++pixel) {
        double sum = 0;
        window(pixel, [&](int64_t, double d) { sum += std::exp(d * scale); });
        out[static_cast<size_t>(pixel)] = sum;
      }
    });
    return out;
  }

  /// Of each pixel: the nearest pixel of higher density in its window, no further than max_dist; itself where
  /// there is none.
  std::vector<int64_t> parents(const std::vector<double>& density, double max_dist) const {
    std::vector<int64_t> out(density.size());
    at::parallel_for(0, size_.area(), kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t pixel = begin; pixel < end; ++pixel) {
        const double own = density[static_cast<size_t>(pixel)];
        int64_t parent = pixel;
        double nearest = std::numeric_limits<double>::infinity();
        window(pixel, [&](int64_t other, double d) {
          const double there = density[static_cast<size_t>(other)];
          if (d >= nearest || there < own || (there == own && other >= pixel)) return;
          parent = other;
          nearest = d;
        });
        out[static_cast<size_t>(pixel)] = std::sqrt(nearest) > max_dist ? pixel : parent;
      }
    });
    return out;
  }

 private:
  static constexpr int64_t kGrain = 256;

  /// `visit`(other, squared distance) for the pixels around `pixel`, itself among them, in raster order.
  template <typename Visit>
  void window(int64_t pixel, const Visit& visit) const {
    const auto reach = static_cast<int64_t>(std::ceil(3 * kernel_size_));
    const int64_t y = pixel / size_.w, x = pixel % size_.w, channels = colour_.size(2);
    const double* values = colour_.const_data_ptr<double>();
    for (int64_t v = std::max<int64_t>(y - reach, 0); v < std::min(y + reach + 1, size_.h); ++v)
      for (int64_t u = std::max<int64_t>(x - reach, 0); u < std::min(x + reach + 1, size_.w); ++u) {
        const int64_t other = v * size_.w + u;
        auto d = static_cast<double>((v - y) * (v - y) + (u - x) * (u - x));
        for (int64_t c = 0; c < channels; ++c) {
          const double difference = values[pixel * channels + c] - values[other * channels + c];
          d += difference * difference;
        }
        visit(other, d);
      }
  }

  at::Tensor colour_;  ///< [H, W, C] double
  Size2 size_;
  double kernel_size_;
};

}  // namespace

at::Tensor quickshift(const at::Tensor& image, const QuickshiftConfig& config) {
  const Size2 size{image.size(1), image.size(2)};
  const auto colour = (stretched_colour(image) * config.ratio).permute({1, 2, 0}).contiguous();
  const Shift shift(colour, size, config.kernel_size);
  auto root = shift.parents(shift.densities(), config.max_dist);
  for (auto& pixel : root)
    while (root[static_cast<size_t>(pixel)] != pixel) pixel = root[static_cast<size_t>(pixel)];
  std::vector<int64_t> number(root.size(), -1), out(root.size());
  int64_t next = 0;
  for (size_t pixel = 0; pixel < root.size(); ++pixel)
    if (root[pixel] == static_cast<int64_t>(pixel)) number[pixel] = next++;
  for (size_t pixel = 0; pixel < root.size(); ++pixel) out[pixel] = number[static_cast<size_t>(root[pixel])];
  return at::tensor(out, at::kLong).view({size.h, size.w});
}

}  // namespace lacuna::mask
