#include "lacuna/data/synthetic_moving.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "lacuna/core/error.h"

namespace lacuna::data {

namespace {

constexpr double kRate = 8, kTau = 2 * std::numbers::pi;
constexpr int kShapes = 6;

using Color = std::array<double, 3>;

enum class Motion { kLeftRight, kUpDown, kDiagonal, kCircle, kSpin, kPulse, kBounce, kStill };

/// Where the shape is at a moment, in units of the frame's shorter side, and how it stands.
struct Pose {
  double x = 0, y = 0, angle = 0, scale = 1;
};

struct Film {
  int shape = 0;
  Color front{}, back{}, other{};
  double radius = 0.2, x = 0.5, y = 0.5, angle = 0, reach = 0.2;
  double phase = 0, periods = 1, turn = 1;
  double stripe_angle = 0, stripe_width = 0.2;
};

Color draw_color(Stream& random) { return {random.uniform(), random.uniform(), random.uniform()}; }

double difference(const Color& a, const Color& b) {
  return std::abs(a[0] - b[0]) + std::abs(a[1] - b[1]) + std::abs(a[2] - b[2]);
}

Film draw_film(Stream& random) {
  Film film;
  film.shape = static_cast<int>(random.below(kShapes));
  film.back = draw_color(random);
  for (double& channel : film.other = film.back)
    channel = std::clamp(channel + random.uniform(-0.25, 0.25), 0.0, 1.0);
  do film.front = draw_color(random);
  while (difference(film.front, film.back) < 0.9);  // the shape can be seen
  film.radius = random.uniform(0.12, 0.2);
  film.x = random.uniform(0.4, 0.6), film.y = random.uniform(0.4, 0.6);
  film.reach = random.uniform(0.15, 0.25);
  film.angle = random.uniform(0, kTau), film.phase = random.uniform(0, kTau);
  film.periods = random.uniform(0.5, 1.5), film.turn = random.below(2) == 0 ? 1 : -1;
  film.stripe_angle = random.uniform(0, kTau), film.stripe_width = random.uniform(0.1, 0.3);
  return film;
}

/// The pose at share `time` of the film.
Pose pose_at(const Film& film, Motion motion, double time) {
  const double at = film.phase + film.turn * kTau * film.periods * time, swing = film.reach * std::sin(at);
  Pose pose{film.x, film.y, film.angle, 1};
  switch (motion) {
    case Motion::kLeftRight:
      pose.x += swing;
      break;
    case Motion::kUpDown:
      pose.y += swing;
      break;
    case Motion::kDiagonal:
      pose.x += swing / std::numbers::sqrt2, pose.y += swing / std::numbers::sqrt2;
      break;
    case Motion::kCircle:
      pose.x += film.reach * std::cos(at), pose.y += swing;
      break;
    case Motion::kSpin:
      pose.angle += at;
      break;
    case Motion::kPulse:
      pose.scale = std::exp(0.5 * std::sin(at));
      break;
    case Motion::kBounce:  // up and down as a ball does, and to one side
      pose.y += film.reach * (1 - 2 * std::abs(std::sin(at)));
      pose.x += film.turn * film.reach * (time - 0.5);
      break;
    case Motion::kStill:
      break;
  }
  return pose;
}

/// How far inside the shape (> 0) a point lies; the shape has radius 1 around the origin.
double inside(int shape, double x, double y) {
  const double r = std::hypot(x, y), angle = std::atan2(y, x);
  switch (shape) {
    case 0:  // an egg, so that it can be seen to spin
      return 1 - std::hypot(x, y * 1.5);
    case 1:
      return 0.85 - std::max(std::abs(x), std::abs(y));
    case 2:
      return 0.5 - std::max({y, -0.5 * y + 0.866 * x, -0.5 * y - 0.866 * x});
    case 3:
      return std::max(std::min(1 - std::abs(x), 0.35 - std::abs(y)),
                      std::min(1 - std::abs(y), 0.35 - std::abs(x)));
    case 4:  // a ring with a gap
      return std::min(0.28 - std::abs(r - 0.7), std::abs(angle) - 0.5);
    default:
      return 0.65 + 0.3 * std::cos(5 * angle) - r;
  }
}

Color background_at(const Film& film, double x, double y) {
  const double along =
      (x * std::cos(film.stripe_angle) + y * std::sin(film.stripe_angle)) / film.stripe_width;
  return along - std::floor(along) < 0.5 ? film.back : film.other;
}

io::Image draw_frame(const Film& film, const Pose& pose, Size2 size) {
  constexpr int kSide = 2;  // samples of a pixel on each axis
  const auto pixels = at::empty({size.h, size.w, 3}, at::kByte);
  auto* out = pixels.mutable_data_ptr<uint8_t>();
  const double unit = static_cast<double>(std::min(size.h, size.w)), radius = film.radius * pose.scale;
  const double cos = std::cos(pose.angle), sin = std::sin(pose.angle);
  const double left = (static_cast<double>(size.w) / unit - 1) / 2,
               top = (static_cast<double>(size.h) / unit - 1) / 2;
  for (int64_t row = 0; row < size.h; ++row)
    for (int64_t column = 0; column < size.w; ++column, out += 3) {
      Color sum{};
      for (int part = 0; part < kSide * kSide; ++part) {
        const double x = (static_cast<double>(column) + (part % kSide + 0.5) / kSide) / unit - left;
        const double y = (static_cast<double>(row) + (part / kSide + 0.5) / kSide) / unit - top;
        const double u = (x - pose.x) / radius, v = (y - pose.y) / radius;
        const bool on = inside(film.shape, u * cos + v * sin, v * cos - u * sin) > 0;
        const Color color = on ? film.front : background_at(film, x, y);
        for (size_t c = 0; c < 3; ++c) sum[c] += color[c];
      }
      for (size_t c = 0; c < 3; ++c)
        out[c] = static_cast<uint8_t>(std::lround(255 * sum[c] / (kSide * kSide)));
    }
  return {pixels, 255};
}

}  // namespace

std::vector<std::string> motion_names() {
  return {"left-right", "up-down", "diagonal", "circle", "spin", "pulse", "bounce", "still"};
}

io::Video draw_moving(Size2 size, int64_t frames, int64_t label, Stream random) {
  const auto film = draw_film(random);
  io::Video video{{}, kRate};
  for (int64_t t = 0; t < frames; ++t) {
    const double time = static_cast<double>(t) / static_cast<double>(frames - 1);
    video.frames.push_back(draw_frame(film, pose_at(film, static_cast<Motion>(label), time), size));
  }
  return video;
}

}  // namespace lacuna::data
