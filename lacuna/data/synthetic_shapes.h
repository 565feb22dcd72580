#pragma once
// Plane shapes as signed distance functions: negative inside, zero on the outline, positive outside. From the
// distance follow anti-aliased edges, bevels and shadows, so that a shape is drawn with one evaluation a
// pixel.

#include <array>

namespace lacuna::data {

/// A point in the plane; x to the right, y downwards.
struct Vec2 {
  float x = 0, y = 0;
};

/// A shape about as large as the unit disc, in an upright pose. `form` in [0, 1] varies it without changing
/// what it is: rounder corners, a thinner ring, a longer bar.
struct Shape {
  const char* name;
  float (*distance)(Vec2 p, float form);
};

/// The shapes whose name is a scene's label.
inline constexpr int kMaxSceneClasses = 10;
extern const std::array<Shape, kMaxSceneClasses> kSceneShapes;

/// Shapes that fill a scene and say nothing about its label: ellipse, bar, capsule, blob.
extern const std::array<Shape, 4> kDistractorShapes;

}  // namespace lacuna::data
