#include "lacuna/data/augment.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>
#include <sstream>

#include "lacuna/core/error.h"

namespace lacuna::data {

namespace {

/// One operation of RandAugment; exactly one of `look` and `place` is there.
struct Op {
  std::string name;
  double (*argument)(double level, bool negate) = nullptr;
  bool directed = false;  ///< argument() reads `negate`
  void (*look)(Levels& picture, double argument) = nullptr;
  Affine (*place)(double argument, Size2 size) = nullptr;
};

double towards(double amount, bool negate) { return negate ? -amount : amount; }
double whole_part(double value) { return static_cast<double>(static_cast<int64_t>(value)); }

// timm's level functions.
double factor(double level, bool) { return level / 10 * 1.8 + 0.1; }
double factor_increasing(double level, bool negate) {
  return std::max(0.1, 1.0 + towards(level / 10 * 0.9, negate));
}
double bits(double level, bool) { return std::min(whole_part(level / 10 * 4), 8.0); }
double bits_increasing(double level, bool) { return std::max(4 - whole_part(level / 10 * 4), 0.0); }
double threshold(double level, bool) { return std::min(256.0, whole_part(level / 10 * 256)); }
double threshold_increasing(double level, bool negate) { return 256 - threshold(level, negate); }
double addition(double level, bool) { return std::min(128.0, whole_part(level / 10 * 110)); }
double degrees(double level, bool negate) { return towards(level / 10 * 30, negate); }
double slope(double level, bool negate) { return towards(level / 10 * 0.3, negate); }
double share(double level, bool negate) { return towards(level / 10 * 0.45, negate); }

Affine shear_x(double slope, Size2) { return {.b = slope}; }
Affine shear_y(double slope, Size2) { return {.d = slope}; }
Affine translate_x(double share, Size2 size) { return {.c = share * static_cast<double>(size.w)}; }
Affine translate_y(double share, Size2 size) { return {.f = share * static_cast<double>(size.h)}; }

std::vector<Op> make_ops(bool increasing) {
  const std::string suffix = increasing ? "Increasing" : "";
  const auto enhance = increasing ? factor_increasing : factor;
  return {
      {.name = "AutoContrast", .look = [](Levels& p, double) { auto_contrast(p); }},
      {.name = "Equalize", .look = [](Levels& p, double) { equalize(p); }},
      {.name = "Invert", .look = [](Levels& p, double) { invert(p); }},
      {.name = "Rotate", .argument = degrees, .directed = true, .place = rotation},
      {.name = "Posterize" + suffix,
       .argument = increasing ? bits_increasing : bits,
       .look = [](Levels& p, double bits) { posterize(p, static_cast<int64_t>(bits)); }},
      {.name = "Solarize" + suffix,
       .argument = increasing ? threshold_increasing : threshold,
       .look = [](Levels& p, double threshold) { solarize(p, static_cast<int64_t>(threshold)); }},
      {.name = "SolarizeAdd",
       .argument = addition,
       .look = [](Levels& p, double add) { solarize_add(p, static_cast<int64_t>(add)); }},
      {.name = "Color" + suffix, .argument = enhance, .directed = increasing, .look = color},
      {.name = "Contrast" + suffix, .argument = enhance, .directed = increasing, .look = contrast},
      {.name = "Brightness" + suffix, .argument = enhance, .directed = increasing, .look = brightness},
      {.name = "Sharpness" + suffix, .argument = enhance, .directed = increasing, .look = sharpness},
      {.name = "ShearX", .argument = slope, .directed = true, .place = shear_x},
      {.name = "ShearY", .argument = slope, .directed = true, .place = shear_y},
      {.name = "TranslateXRel", .argument = share, .directed = true, .place = translate_x},
      {.name = "TranslateYRel", .argument = share, .directed = true, .place = translate_y},
  };
}

const std::vector<Op>& ops_of(bool increasing) {
  static const std::vector<Op> plain = make_ops(false), growing = make_ops(true);
  return increasing ? growing : plain;
}

[[noreturn]] void refuse(const std::string& why) {
  fail("augment.auto_augment", why, "write it as rand-m9-mstd0.5-inc1 (parts: n, m, mstd, mmax, p, inc1)");
}

double number(const std::string& part, size_t at, double low, double high, bool whole) {
  double value = 0;
  const char *begin = part.data() + at, *end = part.data() + part.size();
  const auto [rest, error] = std::from_chars(begin, end, value);
  if (error != std::errc() || rest != end || value < low || value > high ||
      (whole && value != std::floor(value)))
    refuse(str("'", part, "' does not hold a ", whole ? "whole " : "", "number from ", low, " to ", high));
  return value;
}

}  // namespace

RandAugmentConfig RandAugmentConfig::parse(const std::string& text) {
  RandAugmentConfig config;
  std::istringstream parts(text);
  std::string part;
  if (!std::getline(parts, part, '-') || part != "rand")
    refuse(str("'", text, "' is not a RandAugment policy, the only kind there is"));
  std::set<std::string> seen;
  while (std::getline(parts, part, '-')) {
    const size_t at = std::min(part.find_first_of("0123456789"), part.size());
    const std::string key = part.substr(0, at);
    if (!seen.insert(key).second) refuse(str("'", key, "' is given twice"));
    if (key == "n")
      config.layers = static_cast<int64_t>(number(part, at, 1, 100, true));
    else if (key == "m")
      config.magnitude = number(part, at, 0, 1000, true);
    else if (key == "mstd")
      config.magnitude_std = number(part, at, 0, 1e9, false);
    else if (key == "mmax")
      config.magnitude_max = number(part, at, 1, 1000, true);
    else if (key == "p")
      config.prob = number(part, at, 0, 1, false);
    else if (key == "inc")
      // timm takes inc0 for on.
      config.increasing = number(part, at, 1, 1, true) == 1;
    else
      refuse(str("unknown part '", part, "'"));
  }
  return config;
}

const std::vector<std::string>& rand_augment_ops(bool increasing) {
  static const auto names = [](bool growing) {
    std::vector<std::string> out;
    for (const Op& op : ops_of(growing)) out.push_back(op.name);
    return out;
  };
  static const auto plain = names(false), growing = names(true);
  return increasing ? growing : plain;
}

double level_argument(const std::string& name, double level, bool negate) {
  for (const bool increasing : {false, true})
    for (const Op& op : ops_of(increasing))
      if (op.name == name) return op.argument ? op.argument(level, negate) : 0;
  fail(str("operation '", name, "'"), "is unknown", suggest(name, rand_augment_ops(true)));
}

RandAugment::RandAugment(RandAugmentConfig config, std::optional<Interpolation> interpolation,
                         std::vector<double> mean)
    : config_(config), interpolation_(interpolation), mean_(std::move(mean)) {}

template <class T, class Look>
void RandAugment::apply(Pixels<T>& picture, Stream& random, const std::vector<T>& fill, Look look) const {
  const auto& ops = ops_of(config_.increasing);
  for (int64_t layer = 0; layer < config_.layers; ++layer) {
    const Op& op = ops[static_cast<size_t>(random.below(std::ssize(ops)))];
    if (random.uniform() >= config_.prob) continue;
    double level = config_.magnitude;
    if (config_.magnitude_std > 100)
      level *= random.uniform();
    else if (config_.magnitude_std > 0)
      level += config_.magnitude_std * random.normal();
    const bool negate = op.directed && random.uniform() < 0.5;
    level = std::clamp(level, 0.0, config_.magnitude_max);
    const double argument = op.argument ? op.argument(level, negate) : 0;
    if (!op.place) {
      look(op, argument);
      continue;
    }
    const auto interpolation = interpolation_ ? *interpolation_ : draw_interpolation(random);
    warp(picture, op.place(argument, {picture.height, picture.width}), interpolation, fill);
  }
}

void RandAugment::operator()(Levels& picture, Stream& random) const {
  const bool has_looks = picture.channels == 1 || picture.channels == 3;
  std::vector<uint8_t> fill;
  for (const double mean : mean_)
    fill.push_back(static_cast<uint8_t>(std::clamp(std::nearbyint(255 * mean), 0.0, 255.0)));
  apply(picture, random, fill, [&](const Op& op, double argument) {
    if (has_looks) op.look(picture, argument);
  });
}

void RandAugment::operator()(Pixels<float>& picture, float peak, Stream& random) const {
  std::vector<float> fill;
  for (const double mean : mean_) fill.push_back(static_cast<float>(mean) * peak);
  apply(picture, random, fill, [](const Op&, double) {});
}

Interpolation draw_interpolation(Stream& random) {
  return random.below(2) == 0 ? Interpolation::kBilinear : Interpolation::kBicubic;
}

void color_jitter(Levels& picture, double strength, Stream& random) {
  const auto order = random.permutation(3);
  double factors[3];
  for (double& factor : factors) factor = random.uniform(std::max(0.0, 1 - strength), 1 + strength);
  constexpr void (*kOps[])(Levels&, double) = {brightness, contrast, color};
  for (const int64_t i : order) kOps[i](picture, factors[i]);
}

io::Rect RandomErasing::draw_box(Size2 size, int64_t boxes, Stream& random) {
  const double area = static_cast<double>(size.area()) / static_cast<double>(boxes);
  const double log_ratio = std::log(0.3);
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double target = random.uniform(0.02, 1.0 / 3) * area;
    const double ratio = std::exp(random.uniform(log_ratio, -log_ratio));
    const auto h = static_cast<int64_t>(std::nearbyint(std::sqrt(target * ratio)));
    const auto w = static_cast<int64_t>(std::nearbyint(std::sqrt(target / ratio)));
    if (h >= size.h || w >= size.w) continue;
    const int64_t top = random.below(size.h - h + 1);
    return {top, random.below(size.w - w + 1), h, w};
  }
  return {};
}

void RandomErasing::operator()(float* picture, int64_t channels, Size2 size, Stream& random) const {
  if (random.uniform() >= prob) return;
  const int64_t boxes = count > 1 ? 1 + random.below(count) : 1;
  for (int64_t i = 0; i < boxes; ++i) {
    const io::Rect box = draw_box(size, boxes, random);
    for (int64_t c = 0; c < channels; ++c) {
      const float colour = mode == "rand" ? static_cast<float>(random.normal()) : 0;
      for (int64_t y = box.top; y < box.top + box.height; ++y) {
        float* row = picture + (c * size.h + y) * size.w + box.left;
        for (int64_t x = 0; x < box.width; ++x)
          row[x] = mode == "pixel" ? static_cast<float>(random.normal()) : colour;
      }
    }
  }
}

}  // namespace lacuna::data
