#include "lacuna/data/synthetic_terrain.h"

#include <cmath>
#include <numbers>

namespace lacuna::data {

namespace {

constexpr double kTurn = 2 * std::numbers::pi;
constexpr double kLevel = -2.5, kReach = 4, kNoise = 0.005;

}  // namespace

Terrain::Terrain(Stream& random) {
  for (auto& wave : waves_) {
    const double length = random.uniform(4, 8), slope = random.uniform(0.2, 0.5);
    const double angle = random.uniform(0, kTurn);
    const double rate = kTurn / length;
    wave = {rate * std::cos(angle), rate * std::sin(angle), random.uniform(0, kTurn), slope / rate};
  }
}

double Terrain::height(double x, double y) const {
  double out = kLevel;
  for (const auto& wave : waves_)
    out += wave.amplitude * std::sin(wave.along_x * x + wave.along_y * y + wave.phase);
  return out;
}

std::array<double, 3> Terrain::normal(double x, double y) const {
  double slope_x = 0, slope_y = 0;
  for (const auto& wave : waves_) {
    const double change = wave.amplitude * std::cos(wave.along_x * x + wave.along_y * y + wave.phase);
    slope_x += change * wave.along_x;
    slope_y += change * wave.along_y;
  }
  const double length = std::sqrt(1 + slope_x * slope_x + slope_y * slope_y);
  return {-slope_x / length, -slope_y / length, 1 / length};
}

io::Points draw_terrain(int64_t count, Stream random) {
  const Terrain terrain(random);
  io::Points out;
  out.values.reserve(static_cast<size_t>(3 * count));
  for (int64_t i = 0; i < count; ++i) {
    const double x = random.uniform(-kReach, kReach), y = random.uniform(-kReach, kReach);
    for (const double value : {x, y, terrain.height(x, y)})
      out.values.push_back(static_cast<float>(value + kNoise * random.normal()));
  }
  return out;
}

}  // namespace lacuna::data
