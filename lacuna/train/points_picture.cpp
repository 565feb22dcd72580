#include "lacuna/train/points_picture.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "lacuna/core/torch.h"
#include "lacuna/train/caption.h"

namespace lacuna::train {

namespace {

constexpr uint8_t kPaper = 250, kInk = 45;
constexpr int64_t kView = 180, kGap = 6, kTitle = 2 * kGlyphHeight + 6;
constexpr double kMargin = 0.46, kNormalLength = 7;  // share of a view; pixels
using Colour = std::array<uint8_t, 3>;
constexpr Colour kSeen{60, 60, 60}, kHidden{214, 210, 200}, kPredicted{214, 92, 42};

/// What of a scene lies where in a view: from above (x, y), or from the side (x, z).
struct Camera {
  std::array<double, 3> middle;
  double radius;
  bool above;
  std::array<double, 2> at(const float* p) const {
    const auto place = [&](double value) { return (0.5 + kMargin * value / radius) * kView; };
    const size_t up = above ? 1 : 2;
    return {place(p[0] - middle[0]), place(middle[up] - p[up])};
  }
};

/// A square part of the panel.
class View {
 public:
  View(Tensor& panel, int64_t top, int64_t left)
      : pixels_(panel.mutable_data_ptr<uint8_t>()), width_(panel.size(1)), top_(top), left_(left) {}

  void dot(double x, double y, const Colour& colour) {
    const auto column = static_cast<int64_t>(std::floor(x)), row = static_cast<int64_t>(std::floor(y));
    if (row < 0 || row >= kView || column < 0 || column >= kView) return;
    std::copy(colour.begin(), colour.end(), pixels_ + ((top_ + row) * width_ + left_ + column) * 3);
  }

  void line(double x, double y, double dx, double dy, const Colour& colour) {
    const int64_t steps = static_cast<int64_t>(2 * std::hypot(dx, dy)) + 1;
    for (int64_t i = 0; i <= steps; ++i) {
      const double at = static_cast<double>(i) / static_cast<double>(steps);
      dot(x + at * dx, y + at * dy, colour);
    }
  }

 private:
  uint8_t* pixels_;
  int64_t width_, top_, left_;
};

/// One cloud of a preview, contiguous.
struct Scene {
  Tensor points, hidden, predicted, normals;
};

/// What holds nearly all points: outliers of a sweep are left outside.
Camera camera_of(const Scene& scene, bool above) {
  Camera out{{0, 0, 0}, 1, above};
  if (scene.points.size(0) == 0) return out;
  const auto xyz = scene.points.slice(1, 0, 3).to(torch::kDouble);
  const auto sorted = std::get<0>(xyz.sort(0));
  const int64_t last = sorted.size(0) - 1, cut = last / 100;
  double radius = 1e-6;
  for (int64_t axis = 0; axis < 3; ++axis) {
    const double low = sorted[cut][axis].item<double>(), high = sorted[last - cut][axis].item<double>();
    out.middle[static_cast<size_t>(axis)] = (low + high) / 2;
    radius = std::max(radius, (high - low) / 2);
  }
  out.radius = radius * 1.05;
  return out;
}

Colour colour_of(const float* normal) {
  Colour out{};
  for (size_t axis = 0; axis < 3; ++axis)
    out[axis] = static_cast<uint8_t>(std::lround(40 + 180 * std::min(1.0F, std::abs(normal[axis]))));
  return out;
}

/// Points of which `wanted` says yes (null: all).
void draw_points(View& view, const Camera& camera, const Tensor& points, const bool* hidden, bool wanted,
                 const Colour& colour) {
  const auto* p = points.const_data_ptr<float>();
  for (int64_t i = 0; i < points.size(0); ++i, p += points.size(1)) {
    if (hidden != nullptr && hidden[i] != wanted) continue;
    const auto [x, y] = camera.at(p);
    view.dot(x, y, colour);
  }
}

void draw_normals(View& view, const Camera& camera, const Scene& scene) {
  const auto* p = scene.predicted.const_data_ptr<float>();
  const auto* n = scene.normals.const_data_ptr<float>();
  for (int64_t i = 0; i < scene.predicted.size(0); ++i, p += 3, n += 3) {
    const auto [x, y] = camera.at(p);
    view.line(x, y, kNormalLength * n[0], -kNormalLength * n[camera.above ? 1 : 2], colour_of(n));
  }
}

void draw_scene(Tensor& panel, const Scene& scene, int64_t top, bool above) {
  const auto camera = camera_of(scene, above);
  const bool* hidden = scene.hidden.const_data_ptr<bool>();
  const auto view = [&](int64_t column) { return View(panel, top, column * (kView + kGap)); };
  auto truth = view(0), seen = view(1), predicted = view(2);
  draw_points(truth, camera, scene.points, nullptr, true, kSeen);
  draw_points(seen, camera, scene.points, hidden, true, kHidden);
  draw_points(seen, camera, scene.points, hidden, false, kSeen);
  draw_points(predicted, camera, scene.points, hidden, false, kHidden);
  draw_points(predicted, camera, scene.predicted, nullptr, true, kPredicted);
  if (!scene.normals.defined()) return;
  auto normals = view(3);
  draw_points(normals, camera, scene.points, hidden, false, kHidden);
  draw_normals(normals, camera, scene);
}

Scene scene_of(const Preview& preview, int64_t b) {
  const int64_t n = preview.point_count[b].item<int64_t>(), m = preview.predicted_count[b].item<int64_t>();
  const auto rows = [](const Tensor& of, int64_t count) { return of.slice(0, 0, count).cpu().contiguous(); };
  return {rows(preview.points[b], n), rows(preview.hidden_points[b], n), rows(preview.predicted_points[b], m),
          preview.predicted_normals.defined() ? rows(preview.predicted_normals[b], m) : Tensor()};
}

}  // namespace

Tensor points_panel(const Preview& preview) {
  const int64_t B = preview.points.size(0), columns = preview.predicted_normals.defined() ? 4 : 3;
  const int64_t pair = 2 * kView + 3 * kGap;
  auto panel = torch::full({kTitle + B * pair, columns * (kView + kGap), 3}, kPaper, torch::kByte);
  const std::array<const char*, 4> titles{"points: above and side", "seen (grey: hidden)",
                                          "predicted (grey: seen)", "predicted normals"};
  for (int64_t column = 0; column < columns; ++column)
    draw_text(panel, titles[static_cast<size_t>(column)], 2, column * (kView + kGap) + 2, 1, kInk);
  for (int64_t b = 0; b < B; ++b) {
    const auto scene = scene_of(preview, b);
    draw_scene(panel, scene, kTitle + b * pair, /*above=*/true);
    draw_scene(panel, scene, kTitle + b * pair + kView + kGap, /*above=*/false);
  }
  return panel;
}

}  // namespace lacuna::train
