#include "lacuna/mask/segments.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "lacuna/core/error.h"

namespace lacuna::mask {

at::Tensor grid_segments(Size2 image, Size2 cell) {
  LACUNA_ASSERT(cell.h > 0 && cell.w > 0);
  const int64_t columns = (image.w + cell.w - 1) / cell.w;
  const auto rows = at::arange(image.h, at::kLong).div(cell.h, "floor");
  const auto cols = at::arange(image.w, at::kLong).div(cell.w, "floor");
  return rows.unsqueeze(1) * columns + cols;
}

at::Tensor to_lab(const at::Tensor& rgb) {
  constexpr double kLinearBelow = 0.04045, kCubeBelow = 0.008856;
  const auto linear =
      at::where(rgb.gt(kLinearBelow), rgb.add(0.055).div(1.055).clamp_min(0).pow(2.4), rgb.div(12.92));
  const auto matrix =
      at::tensor({0.412453, 0.357580, 0.180423, 0.212671, 0.715160, 0.072169, 0.019334, 0.119193, 0.950227},
                 at::kDouble)
          .view({3, 3});
  const auto white = at::tensor({0.95047, 1.0, 1.08883}, at::kDouble).view({3, 1});
  const auto xyz = matrix.matmul(linear.flatten(1)) / white;
  const auto f =
      at::where(xyz.gt(kCubeBelow), xyz.clamp_min(0).pow(1.0 / 3), xyz * 7.787 + 16.0 / 116).unbind(0);
  return at::stack({f[1] * 116 - 16, (f[0] - f[1]) * 500, (f[1] - f[2]) * 200}).view_as(rgb);
}

at::Tensor stretched_colour(const at::Tensor& image) {
  auto values = image.to(at::kCPU, at::kDouble);
  values = values - values.min();
  const auto peak = values.max().item<double>();
  if (peak > 0) values = values / peak;
  return values.size(0) == 3 ? to_lab(values) : values;
}

namespace {

constexpr double kLeastSize = 0.5, kLargestSize = 3;  // of a connected region, over the mean size

/// First position and step of a regular grid of about `points` points (scikit-image's regular_grid, one axis
/// of length 1 in front).
struct Grid {
  std::array<int64_t, 2> start{0, 0}, step{1, 1};
};

Grid regular_grid(Size2 image, int64_t points) {
  if (image.area() <= points) return {};
  const bool tall = image.w <= image.h;  // the shorter side is laid out first
  const std::array<int64_t, 2> sides =
      tall ? std::array<int64_t, 2>{image.w, image.h} : std::array<int64_t, 2>{image.h, image.w};
  std::array<double, 2> steps;
  steps.fill(std::sqrt(static_cast<double>(image.area()) / static_cast<double>(points)));
  if (static_cast<double>(sides[0]) < steps[0])
    steps = {static_cast<double>(sides[0]), static_cast<double>(sides[1]) / static_cast<double>(points)};
  Grid grid;
  for (size_t i = 0; i < 2; ++i) {
    const size_t axis = tall ? 1 - i : i;
    grid.start[axis] = static_cast<int64_t>(std::floor(steps[i] / 2));
    grid.step[axis] = std::max<int64_t>(1, std::llround(std::nearbyint(steps[i])));
  }
  return grid;
}

/// k-means over nearness and colour, each centre looking at a window of four steps.
struct Clustering {
  const std::vector<double>& pixels;  ///< [H * W, C], colour over compactness
  Size2 size;
  int64_t channels;
  Grid grid;
  std::vector<double> centres;  ///< [K, 2 + C]
  std::vector<int64_t> labels;  ///< [H * W]

  int64_t width() const { return 2 + channels; }
  int64_t count() const { return std::ssize(centres) / width(); }

  void place_centres() {
    for (int64_t y = grid.start[0]; y < size.h; y += grid.step[0])
      for (int64_t x = grid.start[1]; x < size.w; x += grid.step[1]) {
        centres.push_back(static_cast<double>(y));
        centres.push_back(static_cast<double>(x));
        centres.resize(centres.size() + static_cast<size_t>(channels), 0.0);
      }
    labels.assign(static_cast<size_t>(size.area()), 0);
  }

  /// Gives the pixels around centre k to it where it is nearer than what they have; whether any changed
  /// hands.
  bool claim(int64_t k, double spatial_weight, std::vector<double>& distance) {
    const double* centre = &centres[static_cast<size_t>(k * width())];
    const auto low = [](double at, int64_t reach) {
      return static_cast<int64_t>(std::max(at - 2.0 * static_cast<double>(reach), 0.0));
    };
    const auto high = [](double at, int64_t reach, int64_t end) {
      return static_cast<int64_t>(
          std::min(at + 2.0 * static_cast<double>(reach) + 1, static_cast<double>(end)));
    };
    bool changed = false;
    for (int64_t y = low(centre[0], grid.step[0]); y < high(centre[0], grid.step[0], size.h); ++y)
      for (int64_t x = low(centre[1], grid.step[1]); x < high(centre[1], grid.step[1], size.w); ++x) {
        const double dy = centre[0] - static_cast<double>(y), dx = centre[1] - static_cast<double>(x);
        double d = (dy * dy + dx * dx) * spatial_weight;
        const auto pixel = static_cast<size_t>(y * size.w + x);
        for (int64_t c = 0; c < channels; ++c) {
          const double difference =
              pixels[pixel * static_cast<size_t>(channels) + static_cast<size_t>(c)] - centre[2 + c];
          d += difference * difference;
        }
        if (distance[pixel] <= d) continue;
        distance[pixel] = d;
        labels[pixel] = k;
        changed = true;
      }
    return changed;
  }

  /// Each centre to the mean of its pixels.
  void move_centres() {
    std::vector<double> sums(centres.size(), 0.0), counts(static_cast<size_t>(count()), 0.0);
    for (int64_t i = 0; i < size.area(); ++i) {
      const auto k = labels[static_cast<size_t>(i)];
      double* sum = &sums[static_cast<size_t>(k * width())];
      counts[static_cast<size_t>(k)] += 1;
      sum[0] += static_cast<double>(i / size.w);
      sum[1] += static_cast<double>(i % size.w);
      for (int64_t c = 0; c < channels; ++c) sum[2 + c] += pixels[static_cast<size_t>(i * channels + c)];
    }
    for (size_t i = 0; i < sums.size(); ++i) {
      const double n = counts[i / static_cast<size_t>(width())];
      if (n > 0) centres[i] = sums[i] / n;
    }
  }

  void run(int64_t iterations) {
    place_centres();
    const double step = static_cast<double>(std::max(grid.step[0], grid.step[1]));
    for (int64_t i = 0; i < iterations; ++i) {
      std::vector<double> distance(labels.size(), std::numeric_limits<double>::max());
      bool changed = false;
      for (int64_t k = 0; k < count(); ++k) changed = claim(k, 1 / (step * step), distance) || changed;
      if (!changed) return;
      move_centres();
    }
  }
};

/// Regions of one label that hang together get a number each; one below `least` pixels joins a neighbour, one
/// of `most` pixels is cut off.
std::vector<int64_t> connected(const std::vector<int64_t>& labels, Size2 size, int64_t least, int64_t most) {
  constexpr std::array<std::array<int64_t, 2>, 4> kSteps{{{0, 1}, {0, -1}, {1, 0}, {-1, 0}}};
  std::vector<int64_t> out(labels.size(), -1), region;
  int64_t next = 0;
  for (int64_t start = 0; start < size.area(); ++start) {
    if (out[static_cast<size_t>(start)] >= 0) continue;
    int64_t adjacent = 0;
    region = {start};
    out[static_cast<size_t>(start)] = next;
    for (size_t visited = 0; visited < region.size() && std::ssize(region) < most; ++visited) {
      const int64_t y = region[visited] / size.w, x = region[visited] % size.w;
      for (const auto& [dy, dx] : kSteps) {
        if (y + dy < 0 || y + dy >= size.h || x + dx < 0 || x + dx >= size.w) continue;
        const auto there = static_cast<size_t>((y + dy) * size.w + x + dx);
        if (out[there] >= 0) {
          if (out[there] != next) adjacent = out[there];
          continue;
        }
        if (labels[there] != labels[static_cast<size_t>(start)]) continue;
        out[there] = next;
        region.push_back(static_cast<int64_t>(there));
        if (std::ssize(region) >= most) break;
      }
    }
    if (std::ssize(region) < least)
      for (const int64_t pixel : region) out[static_cast<size_t>(pixel)] = adjacent;
    else
      ++next;
  }
  return out;
}

}  // namespace

at::Tensor slic(const at::Tensor& image, const SlicConfig& config) {
  const Size2 size{image.size(1), image.size(2)};
  const auto values = stretched_colour(image);
  const auto pixels = (values / config.compactness).permute({1, 2, 0}).contiguous();
  const std::vector<double> flat(pixels.const_data_ptr<double>(),
                                 pixels.const_data_ptr<double>() + pixels.numel());
  Clustering clusters{.pixels = flat,
                      .size = size,
                      .channels = values.size(0),
                      .grid = regular_grid(size, config.segments),
                      .centres = {},
                      .labels = {}};
  clusters.run(config.iterations);
  const double mean = static_cast<double>(size.area()) / static_cast<double>(clusters.count());
  const auto labels = connected(clusters.labels, size, static_cast<int64_t>(kLeastSize * mean),
                                static_cast<int64_t>(kLargestSize * mean));
  return at::tensor(labels, at::kLong).view({size.h, size.w});
}

}  // namespace lacuna::mask
