#include "lacuna/data/synthetic_walkers.h"

#include <ATen/ATen.h>

#include <array>
#include <cmath>
#include <numbers>

namespace lacuna::data {

namespace {

constexpr double kRate = 25;
constexpr double kTurn = 2 * std::numbers::pi;

/// How a body moves: angles in radians, lengths in metres, at its own tempo.
struct Gait {
  double tempo;         ///< cycles a second
  double stride, knee;  ///< swing of the thigh, bend of the knee
  double arm, elbow;    ///< swing of the arm, bend of the elbow
  double hop, crouch;   ///< height of a jump, depth of a squat
  double spin;          ///< radians a second about the upright axis
  double wave;          ///< one hand waves above the head
};

struct Action {
  const char* name;
  Gait gait;
};
constexpr std::array<Action, 6> kActions{{
    {"walk", {0.9, 0.45, 0.5, 0.4, 0.3, 0.02, 0, 0, 0}},
    {"run", {1.5, 0.75, 1.2, 0.8, 1.4, 0.06, 0.05, 0, 0}},
    {"jump", {0.8, 0, 0.3, 0.5, 0.4, 0.35, 0.15, 0, 0}},
    {"wave", {0.7, 0.05, 0.05, 0.1, 0.2, 0, 0, 0, 1}},
    {"squat", {0.5, 0, 0, 0.2, 0.3, 0, 0.4, 0, 0}},
    {"turn", {0.8, 0.3, 0.4, 0.3, 0.3, 0.02, 0, 1.2, 0}},
}};

/// Human3.6M's 17: hip; right and left leg; spine, thorax, neck, head; left and right arm.
const std::vector<std::string> kJoints{"hip",     "r-hip",  "r-knee",     "r-foot",  "l-hip", "l-knee",
                                       "l-foot",  "spine",  "thorax",     "neck",    "head",  "l-shoulder",
                                       "l-elbow", "l-hand", "r-shoulder", "r-elbow", "r-hand"};
const std::vector<int64_t> kParents{-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15};

struct Point {
  double x, y, z;  ///< right, forward, up
  Point operator+(const Point& o) const { return {x + o.x, y + o.y, z + o.z}; }
};
/// From a joint, `length` down at `angle` forward of straight down.
Point hanging(double length, double angle) {
  return {0, length * std::sin(angle), -length * std::cos(angle)};
}

/// One body: its proportions and its own way of doing the action.
class Walker {
 public:
  Walker(Gait gait, Stream& random)
      : gait_(gait), phase_(random.uniform()), heading_(random.uniform(0, kTurn)) {
    const auto vary = [&](double& value, double by) { value *= random.uniform(1 - by, 1 + by); };
    vary(gait_.tempo, 0.25), vary(gait_.stride, 0.25), vary(gait_.knee, 0.2), vary(gait_.arm, 0.35);
    vary(gait_.elbow, 0.3), vary(gait_.hop, 0.3), vary(gait_.crouch, 0.25), vary(gait_.spin, 0.4);
    vary(size_, 0.1);
    lean_ = random.uniform(-0.08, 0.15);
    sway_ = random.uniform(0.005, 0.03);
  }

  /// The 17 joints at `seconds`.
  std::array<Point, 17> pose(double seconds) const {
    const double at = kTurn * (phase_ + gait_.tempo * seconds), swing = std::sin(at);
    const double lift = gait_.hop * std::max(0.0, std::sin(at)),
                 sink = gait_.crouch * 0.5 * (1 - std::cos(at));
    std::array<Point, 17> out{};
    out[0] = {sway_ * std::cos(at), 0, 0.95 + lift - sink};
    leg(out, 1, out[0] + Point{0.12, 0, 0}, swing, sink);
    leg(out, 4, out[0] + Point{-0.12, 0, 0}, -swing, sink);
    const double bend = lean_ + 0.6 * sink;
    const auto above = [&](double height) {
      return Point{0, height * std::sin(bend), height * std::cos(bend)};
    };
    out[7] = out[0] + above(0.25);
    out[8] = out[0] + above(0.5);
    out[9] = out[0] + above(0.6);
    out[10] = out[0] + above(0.75);
    arm(out, 11, out[8] + Point{-0.18, 0, -0.03}, swing, 0, at);
    arm(out, 14, out[8] + Point{0.18, 0, -0.03}, -swing, gait_.wave, at);
    const double turn = heading_ + gait_.spin * seconds, c = std::cos(turn), s = std::sin(turn);
    for (auto& p : out) p = {size_ * (c * p.x - s * p.y), size_ * (s * p.x + c * p.y), size_ * p.z};
    return out;
  }

 private:
  void leg(std::array<Point, 17>& out, size_t first, Point hip, double swing, double sink) const {
    const double fold = std::acos(std::clamp(1 - sink / 0.9, 0.2, 1.0));  // both halves of the leg give way
    const double thigh = gait_.stride * swing + fold;
    const double shin = thigh - 2 * fold - gait_.knee * std::max(0.0, -swing);
    out[first] = hip;
    out[first + 1] = hip + hanging(0.45, thigh);
    out[first + 2] = out[first + 1] + hanging(0.45, shin);
  }

  void arm(std::array<Point, 17>& out, size_t first, Point shoulder, double swing, double wave,
           double at) const {
    const double upper = wave > 0 ? 2.6 : -gait_.arm * swing;
    const double lower = upper + (wave > 0 ? 0.5 * std::sin(3 * at) : gait_.elbow);
    out[first] = shoulder;
    out[first + 1] = shoulder + hanging(0.28, upper);
    out[first + 2] = out[first + 1] + hanging(0.25, lower) + Point{wave * 0.12 * std::sin(3 * at), 0, 0};
  }

  Gait gait_;
  double phase_, heading_, size_ = 1, lean_ = 0, sway_ = 0;
};

}  // namespace

std::vector<std::string> walker_actions() {
  std::vector<std::string> out;
  for (const auto& action : kActions) out.emplace_back(action.name);
  return out;
}

io::Motion draw_walker(int64_t action, int64_t frames, Stream random) {
  static const auto skeleton = std::make_shared<const io::Skeleton>(io::Skeleton{kJoints, kParents});
  const Walker walker(kActions[static_cast<size_t>(action)].gait, random);
  auto positions = at::empty({frames, std::ssize(kJoints), 3}, at::kFloat);
  auto* out = positions.mutable_data_ptr<float>();
  for (int64_t t = 0; t < frames; ++t)
    for (const auto& point : walker.pose(static_cast<double>(t) / kRate))
      for (const double value : {point.x, point.y, point.z}) *out++ = static_cast<float>(value);
  return {skeleton, positions, kRate};
}

}  // namespace lacuna::data
