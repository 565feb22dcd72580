#include "lacuna/data/synthetic_rooms.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

namespace lacuna::data {

namespace {

constexpr double kTurn = 2 * std::numbers::pi;
constexpr double kFloor = -1, kHeight = 2.5, kNoise = 0.005;
constexpr double kObjectShare = 1.0 / 3;

using Point = std::array<double, 3>;

/// A surface that points can be drawn from: a box between two corners, a ball, or a mantle around the upright
/// axis whose radius goes from `radius` at low[2] to `top_radius` at high[2] (a disc where both are alike).
struct Part {
  enum Kind { kBox, kBall, kMantle } kind;
  Point low, high;
  double radius = 0, top_radius = 0;
  int32_t label = 0;

  double area() const {
    if (kind == kBall) return 2 * kTurn * radius * radius;
    if (kind == kMantle)
      return kTurn / 2 * (radius + top_radius) * std::hypot(high[2] - low[2], radius - top_radius);
    const auto [x, y, z] = size();
    return 2 * (x * y + y * z + x * z);
  }

  Point draw(Stream& random) const {
    if (kind == kBall) {
      const double angle = random.uniform(0, kTurn), height = random.uniform(-1, 1);
      const double level = std::sqrt(1 - height * height) * radius;
      return {low[0] + level * std::cos(angle), low[1] + level * std::sin(angle),
              low[2] + radius * (1 + height)};
    }
    if (kind == kMantle) return on_mantle(random);
    return on_box(random);
  }

 private:
  Point size() const { return {high[0] - low[0], high[1] - low[1], high[2] - low[2]}; }

  Point on_mantle(Stream& random) const {
    // Evenly by area: the radius is drawn by its square.
    const double u = random.uniform(), angle = random.uniform(0, kTurn);
    const double r = std::sqrt(radius * radius + u * (top_radius * top_radius - radius * radius));
    const double rise = radius == top_radius ? u : (r - radius) / (top_radius - radius);
    return {low[0] + r * std::cos(angle), low[1] + r * std::sin(angle), low[2] + rise * (high[2] - low[2])};
  }

  Point on_box(Stream& random) const {
    const auto length = size();
    const std::array<double, 3> faces{length[1] * length[2], length[0] * length[2], length[0] * length[1]};
    double at = random.uniform(0, faces[0] + faces[1] + faces[2]);
    size_t across = 0;
    while (across < 2 && at >= faces[across]) at -= faces[across++];
    Point out{};
    for (size_t axis = 0; axis < 3; ++axis) out[axis] = low[axis] + random.uniform() * length[axis];
    out[across] = random.below(2) == 0 ? low[across] : high[across];
    return out;
  }
};

Part box(Point low, Point high) { return {Part::kBox, low, high}; }
Part mantle(double low, double high, double radius, double top_radius) {
  return {Part::kMantle, {0, 0, low}, {0, 0, high}, radius, top_radius};
}

/// Four legs from the floor to `height`, at the corners of a rectangle.
void add_legs(double x, double y, double height, std::vector<Part>& out) {
  constexpr double kThick = 0.06;
  for (const double sx : {-1.0, 1.0})
    for (const double sy : {-1.0, 1.0}) {
      const double cx = sx * (x - kThick / 2), cy = sy * (y - kThick / 2);
      out.push_back(box({cx - kThick / 2, cy - kThick / 2, 0}, {cx + kThick / 2, cy + kThick / 2, height}));
    }
}

std::vector<Part> crate() { return {box({-0.4, -0.3, 0}, {0.4, 0.3, 0.6})}; }
std::vector<Part> ball() { return {{Part::kBall, {0, 0, 0}, {0, 0, 0}, 0.4}}; }
std::vector<Part> drum() { return {mantle(0, 0.9, 0.3, 0.3), mantle(0.9, 0.9, 0, 0.3)}; }
std::vector<Part> cone() { return {mantle(0, 1, 0.45, 0)}; }
std::vector<Part> table() {
  std::vector<Part> out{box({-0.7, -0.4, 0.7}, {0.7, 0.4, 0.75})};
  add_legs(0.7, 0.4, 0.7, out);
  return out;
}
std::vector<Part> chair() {
  std::vector<Part> out{box({-0.23, -0.23, 0.42}, {0.23, 0.23, 0.47}),
                        box({-0.23, 0.19, 0.47}, {0.23, 0.23, 0.95})};
  add_legs(0.23, 0.23, 0.42, out);
  return out;
}

struct Object {
  const char* name;
  std::vector<Part> (*parts)();
};
constexpr std::array<Object, 6> kObjects{
    {{"crate", crate}, {"ball", ball}, {"drum", drum}, {"cone", cone}, {"table", table}, {"chair", chair}}};

/// `count` points, evenly by area, each given to `take`.
template <class Take>
void scatter(const std::vector<Part>& parts, int64_t count, Stream& random, Take take) {
  std::vector<double> reach;
  for (const auto& part : parts) reach.push_back((reach.empty() ? 0 : reach.back()) + part.area());
  for (int64_t i = 0; i < count; ++i) {
    const auto found = std::upper_bound(reach.begin(), reach.end(), random.uniform(0, reach.back()));
    const auto index = std::min<size_t>(parts.size() - 1, static_cast<size_t>(found - reach.begin()));
    take(parts[index].draw(random), parts[index].label);
  }
}

}  // namespace

std::vector<std::string> room_objects() {
  std::vector<std::string> out;
  for (const auto& object : kObjects) out.emplace_back(object.name);
  return out;
}

std::vector<std::string> room_point_classes() {
  std::vector<std::string> out{"floor", "wall"};
  for (const auto& object : room_objects()) out.push_back(object);
  return out;
}

io::Points draw_room(int64_t label, int64_t count, Stream random) {
  const double x = random.uniform(2, 3.5), y = random.uniform(2, 3.5);  // half sizes
  const double top = kFloor + kHeight;
  std::vector<Part> room{box({-x, -y, kFloor}, {x, y, kFloor}), box({-x, -y, kFloor}, {-x, y, top}),
                         box({x, -y, kFloor}, {x, y, top}), box({-x, -y, kFloor}, {x, -y, top}),
                         box({-x, y, kFloor}, {x, y, top})};
  for (size_t wall = 1; wall < room.size(); ++wall) room[wall].label = 1;

  io::Points out;
  const auto put = [&](const Point& point, int64_t of) {
    for (const double value : point)
      out.values.push_back(static_cast<float>(value + kNoise * random.normal()));
    out.labels.push_back(static_cast<int32_t>(of));
  };
  const auto on_object = static_cast<int64_t>(static_cast<double>(count) * kObjectShare);
  const double size = random.uniform(0.8, 1.3), turn = random.uniform(0, kTurn);
  const double at_x = random.uniform(1 - x, x - 1), at_y = random.uniform(1 - y, y - 1);
  const double c = std::cos(turn), s = std::sin(turn);
  scatter(kObjects[static_cast<size_t>(label)].parts(), on_object, random, [&](const Point& p, int32_t) {
    put({at_x + size * (c * p[0] - s * p[1]), at_y + size * (s * p[0] + c * p[1]), kFloor + size * p[2]},
        2 + label);
  });
  scatter(room, count - on_object, random, put);
  return out;
}

}  // namespace lacuna::data
