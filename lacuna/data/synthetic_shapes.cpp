#include "lacuna/data/synthetic_shapes.h"

#include <algorithm>
#include <cmath>

namespace lacuna::data {

namespace {

float length(Vec2 p) { return std::sqrt(p.x * p.x + p.y * p.y); }

float segment_squared(Vec2 p, Vec2 from, Vec2 to) {
  const Vec2 edge{to.x - from.x, to.y - from.y}, at{p.x - from.x, p.y - from.y};
  const float along = (at.x * edge.x + at.y * edge.y) / (edge.x * edge.x + edge.y * edge.y);
  const float t = std::clamp(along, 0.0F, 1.0F);
  const Vec2 off{at.x - t * edge.x, at.y - t * edge.y};
  return off.x * off.x + off.y * off.y;
}

// Distance to a polygon with a vertical mirror axis, given by the vertices of its right half from top to
// bottom. Inside is where a ray to the right crosses the outline an odd number of times.
template <size_t N>
float mirrored_polygon(const std::array<Vec2, N>& half, Vec2 p) {
  p.x = std::abs(p.x);
  float nearest = 1e9F;
  bool inside = false;
  for (size_t i = 0; i + 1 < N; ++i) {
    const Vec2 a = half[i], b = half[i + 1];
    nearest = std::min(nearest, segment_squared(p, a, b));
    const bool spans = (a.y > p.y) != (b.y > p.y);
    inside ^= spans && p.x < a.x + (p.y - a.y) * (b.x - a.x) / (b.y - a.y);
  }
  return inside ? -std::sqrt(nearest) : std::sqrt(nearest);
}

template <size_t N>
float rounded_polygon(const std::array<Vec2, N>& half, Vec2 p, float form) {
  return mirrored_polygon(half, p) - 0.02F - 0.07F * form;
}

float box(Vec2 p, Vec2 half_size) {
  const Vec2 q{std::abs(p.x) - half_size.x, std::abs(p.y) - half_size.y};
  return length({std::max(q.x, 0.0F), std::max(q.y, 0.0F)}) + std::min(std::max(q.x, q.y), 0.0F);
}

float disc(Vec2 p, float form) { return length(p) - 0.82F - 0.1F * form; }

float ring(Vec2 p, float form) { return std::abs(length(p) - 0.7F) - 0.17F - 0.1F * form; }

float square(Vec2 p, float form) {
  return box(p, {0.7F - 0.1F * form, 0.7F - 0.1F * form}) - 0.02F - 0.1F * form;
}

float triangle(Vec2 p, float form) {
  static constexpr std::array<Vec2, 3> kHalf{{{0, -0.98F}, {0.86F, 0.52F}, {0, 0.52F}}};
  return rounded_polygon(kHalf, p, form);
}

float star(Vec2 p, float form) {
  // Five points on the unit circle, five notches on a circle of radius 0.46.
  static constexpr std::array<Vec2, 6> kHalf{{{0, -1},
                                              {0.2704F, -0.3721F},
                                              {0.9511F, -0.3090F},
                                              {0.4375F, 0.1421F},
                                              {0.5878F, 0.8090F},
                                              {0, 0.46F}}};
  return rounded_polygon(kHalf, p, form);
}

float cross(Vec2 p, float form) {
  const float arm = 0.24F + 0.08F * form;
  return std::min(box(p, {arm, 0.88F}), box(p, {0.88F, arm})) - 0.03F;
}

// A disc less another disc.
float crescent(Vec2 p, float form) {
  p.x += 0.22F;
  return std::max(length(p) - 0.95F, 0.76F - length({p.x - 0.42F - 0.12F * form, p.y}));
}

// Half of a heart of height 1.1 with its tip at the origin: a segment at 45 degrees up to (0.5, 0.5), then an
// arc about (0.25, 0.75) up to the notch at (0, 1).
float heart(Vec2 p, float form) {
  constexpr float kScale = 1.6F;
  const Vec2 q{std::abs(p.x) / kScale, 0.54F - p.y / kScale};
  float distance = 0;
  if (q.x + q.y > 1) {
    distance = length({q.x - 0.25F, q.y - 0.75F}) - 0.35355F;
  } else {
    const float along = 0.5F * std::max(q.x + q.y, 0.0F);
    const float nearest = std::min(length({q.x - along, q.y - along}), length({q.x, q.y - 1}));
    distance = q.x < q.y ? -nearest : nearest;
  }
  return kScale * distance - 0.05F * form;
}

float hexagon(Vec2 p, float form) {
  static constexpr std::array<Vec2, 4> kHalf{{{0, -0.88F}, {0.762F, -0.44F}, {0.762F, 0.44F}, {0, 0.88F}}};
  return rounded_polygon(kHalf, p, form);
}

float arrow(Vec2 p, float form) {
  static constexpr std::array<Vec2, 5> kHalf{
      {{0, -0.95F}, {0.76F, -0.1F}, {0.3F, -0.1F}, {0.3F, 0.9F}, {0, 0.9F}}};
  return rounded_polygon(kHalf, p, form);
}

// To first order: the implicit function over the length of its gradient.
float ellipse(Vec2 p, float form) {
  const Vec2 radius{1, 0.62F - 0.25F * form};
  const Vec2 q{p.x / radius.x, p.y / radius.y};
  const float value = length(q), slope = length({q.x / radius.x, q.y / radius.y});
  return value * (value - 1) / std::max(slope, 1e-6F);
}

float bar(Vec2 p, float form) { return box(p, {0.95F, 0.5F - 0.28F * form}) - 0.04F; }

float capsule(Vec2 p, float form) {
  return std::sqrt(segment_squared(p, {-0.65F, 0}, {0.65F, 0})) - 0.34F + 0.14F * form;
}

// Three discs melted together by a polynomial smooth minimum.
float blob(Vec2 p, float form) {
  const auto melt = [](float a, float b) {
    constexpr float kWidth = 0.35F;
    const float overlap = std::max(kWidth - std::abs(a - b), 0.0F) / kWidth;
    return std::min(a, b) - 0.25F * kWidth * overlap * overlap;
  };
  const float first = length({p.x + 0.45F, p.y - 0.1F}) - 0.42F;
  const float second = length({p.x - 0.35F, p.y + 0.35F * form}) - 0.46F;
  const float third = length({p.x - 0.3F * form, p.y - 0.5F}) - 0.33F;
  return melt(melt(first, second), third);
}

}  // namespace

const std::array<Shape, kMaxSceneClasses> kSceneShapes{{{"disc", disc},
                                                        {"ring", ring},
                                                        {"square", square},
                                                        {"triangle", triangle},
                                                        {"star", star},
                                                        {"cross", cross},
                                                        {"crescent", crescent},
                                                        {"heart", heart},
                                                        {"hexagon", hexagon},
                                                        {"arrow", arrow}}};

const std::array<Shape, 4> kDistractorShapes{
    {{"ellipse", ellipse}, {"bar", bar}, {"capsule", capsule}, {"blob", blob}}};

}  // namespace lacuna::data
