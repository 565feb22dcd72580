#include "lacuna/train/motion_picture.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/train/caption.h"

namespace lacuna::train {

namespace {

constexpr uint8_t kPaper = 250, kInk = 45;
constexpr std::array<uint8_t, 3> kSeen{60, 60, 60}, kPredicted{214, 92, 42};
constexpr int64_t kAnimatedPose = 160, kAnimatedFutures = 5;
constexpr int64_t kFrames = 10, kPose = 96, kGap = 8, kTitle = 2 * kGlyphHeight + 6;

/// Pixels of one picture.
class Canvas {
 public:
  Canvas(uint8_t* pixels, int64_t size) : pixels_(pixels), size_(size) {}

  /// A line about three pixels wide.
  void line(double x0, double y0, double x1, double y1, const std::array<uint8_t, 3>& colour) {
    const double length = std::hypot(x1 - x0, y1 - y0);
    const auto steps = static_cast<int64_t>(std::ceil(2 * length)) + 1;
    for (int64_t i = 0; i <= steps; ++i) {
      const double at = static_cast<double>(i) / static_cast<double>(steps);
      dot(x0 + at * (x1 - x0), y0 + at * (y1 - y0), colour);
    }
  }

 private:
  void dot(double x, double y, const std::array<uint8_t, 3>& colour) {
    const auto column = static_cast<int64_t>(std::lround(x)), row = static_cast<int64_t>(std::lround(y));
    for (int64_t r = row - 1; r <= row + 1; ++r)
      for (int64_t c = column - 1; c <= column + 1; ++c)
        if (r >= 0 && r < size_ && c >= 0 && c < size_)
          std::copy(colour.begin(), colour.end(), pixels_ + (r * size_ + c) * 3);
  }

  uint8_t* pixels_;
  int64_t size_;
};

/// `count` frames spread over T, the first and the last among them.
std::vector<int64_t> spread_frames(int64_t frames, int64_t count) {
  std::vector<int64_t> out;
  count = std::min(count, frames);
  for (int64_t i = 0; i < count; ++i) out.push_back(count > 1 ? i * (frames - 1) / (count - 1) : 0);
  return out;
}

/// poses [N, size, size, 3] beside one another: [size, N size, 3].
Tensor in_a_row(const Tensor& poses) { return poses.permute({1, 0, 2, 3}).flatten(1, 2); }

}  // namespace

double motion_radius(const Tensor& motion) { return std::max(1e-6, motion.abs().max().item<double>()); }

Tensor draw_poses(const Tensor& poses, const std::vector<int64_t>& parents, const std::vector<bool>& seen,
                  int64_t size, double radius) {
  const int64_t N = poses.size(0), J = poses.size(1);
  LACUNA_ASSERT(std::ssize(parents) == J && std::ssize(seen) == N);
  const auto points = torch::nan_to_num(poses.to(torch::kCPU, torch::kDouble)).contiguous();
  auto out = torch::full({N, size, size, 3}, kPaper, torch::kByte);
  const auto place = [&](double value) { return (0.5 + 0.46 * value / radius) * static_cast<double>(size); };
  for (int64_t n = 0; n < N; ++n) {
    Canvas canvas(out.data_ptr<uint8_t>() + n * size * size * 3, size);
    const double* pose = points.data_ptr<double>() + n * J * 3;
    const auto& colour = seen[static_cast<size_t>(n)] ? kSeen : kPredicted;
    // Seen obliquely: half of the second level axis is added to the first.
    const auto across = [&](int64_t j) { return place(0.87 * pose[3 * j] + 0.5 * pose[3 * j + 1]); };
    const auto down = [&](int64_t j) { return place(-pose[3 * j + 2]); };
    for (int64_t j = 0; j < J; ++j)
      if (const int64_t up = parents[static_cast<size_t>(j)]; up >= 0)
        canvas.line(across(up), down(up), across(j), down(j), colour);
  }
  return out;
}

Tensor motion_panel(const Preview& preview, const std::vector<int64_t>& parents) {
  const int64_t B = preview.motion.size(0), T = preview.motion.size(1);
  const auto chosen = spread_frames(T, kFrames);
  const auto index = torch::tensor(chosen, torch::kLong);
  std::vector<bool> seen, truth(chosen.size(), true);
  for (const int64_t frame : chosen) seen.push_back(frame < preview.observed);
  const int64_t width = std::ssize(chosen) * kPose, height = kTitle + B * (2 * kPose + kGap);
  auto panel = torch::full({height, width, 3}, kPaper, torch::kByte);
  draw_text(panel, str("true above - predicted below - ", preview.observed, " of ", T, " frames seen"), 2, 2,
            1, kInk);
  for (int64_t b = 0; b < B; ++b) {
    const double radius = motion_radius(preview.motion[b]);
    const int64_t top = kTitle + b * (2 * kPose + kGap);
    const auto row = [&](const Tensor& motion, const std::vector<bool>& dark, int64_t at) {
      const auto drawn = draw_poses(motion.cpu().index_select(0, index), parents, dark, kPose, radius);
      panel.slice(0, at, at + kPose).copy_(in_a_row(drawn));
    };
    row(preview.motion[b], truth, top);
    row(preview.futures[b][0], seen, top + kPose);
  }
  return panel;
}

Tensor motion_animation(const Tensor& truth, const Tensor& futures, const std::vector<int64_t>& parents,
                        int64_t observed) {
  const int64_t T = truth.size(0), shown = std::min(kAnimatedFutures, futures.size(0));
  const double radius = std::max(motion_radius(truth), motion_radius(futures.slice(0, 0, shown)));
  std::vector<bool> dark(static_cast<size_t>(T), true), seen;
  for (int64_t t = 0; t < T; ++t) seen.push_back(t < observed);
  std::vector<Tensor> columns{draw_poses(truth, parents, dark, kAnimatedPose, radius)};
  for (int64_t k = 0; k < shown; ++k)
    columns.push_back(draw_poses(futures[k], parents, seen, kAnimatedPose, radius));
  return torch::cat(columns, 2);
}

}  // namespace lacuna::train
