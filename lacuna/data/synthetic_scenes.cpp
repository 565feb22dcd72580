#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "lacuna/data/synthetic.h"
#include "lacuna/data/synthetic_texture.h"

namespace lacuna::data {

namespace {

constexpr double kTurn = 2 * std::numbers::pi;

// A picture in the making. Its middle is the origin; the shorter side has length 1.
struct Canvas {
  explicit Canvas(Size2 of) : size(of), unit(static_cast<float>(std::min(of.h, of.w))) {
    pixels.resize(static_cast<size_t>(of.area()));
  }
  Vec2 at(int64_t row, int64_t column) const {
    return {(static_cast<float>(column) + 0.5F - 0.5F * static_cast<float>(size.w)) / unit,
            (static_cast<float>(row) + 0.5F - 0.5F * static_cast<float>(size.h)) / unit};
  }
  Rgb* row(int64_t of) { return &pixels[static_cast<size_t>(of * size.w)]; }

  Size2 size;
  float unit;
  std::vector<Rgb> pixels;
};

// The light comes from above, more or less; x and y point towards it in the plane, z towards the viewer.
struct Light {
  float x, y, z;
  float shadow_length, shadow_softness, shadow_strength;
};

Light draw_light(Stream& random) {
  const double angle = random.uniform(-0.9, 0.9), height = random.uniform(0.6, 0.85);
  const double across = std::sqrt(1 - height * height);
  Light light{};
  light.x = static_cast<float>(across * std::sin(angle));
  light.y = static_cast<float>(-across * std::cos(angle));
  light.z = static_cast<float>(height);
  light.shadow_length = static_cast<float>(random.uniform(0.03, 0.08));
  light.shadow_softness = static_cast<float>(random.uniform(0.02, 0.05));
  light.shadow_strength = static_cast<float>(random.uniform(0.35, 0.6));
  return light;
}

// Two colours that go together, of which a texture is made.
struct Paint {
  Rgb first, second;
};

// The colours of a scene: the background around one hue, the things in it anywhere on the other side of the
// wheel.
struct Palette {
  double hue, lightness;
};

Paint background_paint(const Palette& palette, Stream& random) {
  const double chroma = random.uniform(0.02, 0.09);
  const double sign = random.uniform() < 0.5 ? 1 : -1;
  const double change = sign * random.uniform(0.05, 0.13);
  const double turn = random.uniform(-0.5, 0.5);
  return {oklch(palette.lightness, chroma, palette.hue),
          oklch(palette.lightness + change, chroma, palette.hue + turn)};
}

Paint object_paint(const Palette& palette, Stream& random) {
  const double hue = palette.hue + random.uniform(0.2, 0.8) * kTurn;
  const double away = random.uniform(0.1, 0.28);
  const double lightness = palette.lightness > 0.62 ? palette.lightness - away : palette.lightness + away;
  const double chroma = random.uniform(0.1, 0.18), turn = random.uniform(-0.8, 0.8);
  const double change = random.uniform(0.16, 0.26) * (lightness > 0.65 ? -1 : 1);
  return {oklch(lightness, chroma, hue), oklch(lightness + change, random.uniform(0.03, 0.12), hue + turn)};
}

Pattern any_pattern(Stream& random) { return static_cast<Pattern>(random.below(kPatterns)); }

// A wall with a pattern, lit from one side.
void paint_wall(Canvas& canvas, const Palette& palette, const Light& light, const ValueNoise& noise,
                Stream& random) {
  const Paint paint = background_paint(palette, random);
  const auto pattern = any_pattern(random);
  const double frequency = random.uniform(4, 11), angle = random.uniform(0, kTurn),
               phase = random.uniform(0, 16);
  const Texture texture(pattern, frequency, angle, phase, noise);
  const float pixel = 1 / canvas.unit;
  for (int64_t row = 0; row < canvas.size.h; ++row) {
    Rgb* out = canvas.row(row);
    for (int64_t column = 0; column < canvas.size.w; ++column) {
      const Vec2 p = canvas.at(row, column);
      const float brightness = 1 + 0.3F * (light.x * p.x + light.y * p.y) - 0.2F * (p.x * p.x + p.y * p.y);
      out[column] = mix(paint.first, paint.second, texture(p, pixel)) * brightness;
    }
  }
}

// Sky with clouds over a floor in perspective, whose pattern fades into haze towards the horizon.
void paint_landscape(Canvas& canvas, const Palette& palette, const ValueNoise& noise, Stream& random) {
  const Paint ground = background_paint(palette, random);
  const double sky_hue = palette.hue + random.uniform(1.5, 4.5);
  const Rgb zenith = oklch(palette.lightness - random.uniform(0.0, 0.15), 0.09, sky_hue);
  const Rgb haze = oklch(std::min(palette.lightness + 0.12, 0.95), 0.04, sky_hue + 0.5);
  const auto cloudiness = static_cast<float>(random.uniform(0.0, 0.6));
  const auto horizon = static_cast<float>(random.uniform(-0.12, 0.2));
  const auto pattern = any_pattern(random);
  const double frequency = random.uniform(3, 7), angle = random.uniform(0, kTurn),
               phase = random.uniform(0, 16);
  const Texture texture(pattern, frequency, angle, phase, noise);
  for (int64_t row = 0; row < canvas.size.h; ++row) {
    Rgb* out = canvas.row(row);
    const float below = canvas.at(row, 0).y - horizon;
    const float rise = std::clamp(-1.6F * below, 0.0F, 1.0F), depth = 0.35F / (std::max(below, 0.0F) + 0.06F);
    const float fade = std::clamp(4 * below, 0.0F, 1.0F), pixel = depth * depth * 3 / canvas.unit;
    for (int64_t column = 0; column < canvas.size.w; ++column) {
      const float x = canvas.at(row, column).x;
      if (below < 0) {
        const float cloud = cloudiness * noise.clouds(3 * x, 9 * below);
        out[column] = mix(mix(haze, zenith, rise), Rgb{1, 1, 1}, cloud * cloud);
      } else {
        out[column] = mix(haze, mix(ground.first, ground.second, texture({x * depth, depth}, pixel)), fade);
      }
    }
  }
}

// A shape in its place, with its surface.
struct Thing {
  const Shape* shape;
  float form;
  Vec2 centre;
  float scale, cos, sin;
  Paint paint;
  Texture texture;
  float bevel;  // width of the rounded rim, as a share of the scale
  float gloss;

  Vec2 to_local(Vec2 p) const {
    const Vec2 q{(p.x - centre.x) / scale, (p.y - centre.y) / scale};
    return {cos * q.x + sin * q.y, cos * q.y - sin * q.x};
  }
};

Thing draw_thing(const Shape& shape, Vec2 centre, double scale, double angle, Pattern pattern,
                 const Palette& palette, const ValueNoise& noise, Stream& random) {
  const auto form = static_cast<float>(random.uniform());
  const Paint paint = object_paint(palette, random);
  const double frequency = random.uniform(2.6, 4.2), grain = random.uniform(0, kTurn),
               phase = random.uniform(0, 16);
  const auto bevel = static_cast<float>(random.uniform(0.15, 0.45)),
             gloss = static_cast<float>(random.uniform(0, 0.5));
  return {&shape,
          form,
          centre,
          static_cast<float>(scale),
          static_cast<float>(std::cos(angle)),
          static_cast<float>(std::sin(angle)),
          paint,
          Texture(pattern, frequency, grain, phase, noise),
          bevel,
          gloss};
}

// Distances to a thing's outline on the pixels that it or its shadow can reach.
struct DistanceMap {
  DistanceMap(const Canvas& canvas, const Thing& thing, float margin) {
    const float reach = (1.2F * thing.scale + margin) * canvas.unit;
    const float column = thing.centre.x * canvas.unit + 0.5F * static_cast<float>(canvas.size.w);
    const float row = thing.centre.y * canvas.unit + 0.5F * static_cast<float>(canvas.size.h);
    top = std::clamp<int64_t>(static_cast<int64_t>(row - reach), 0, canvas.size.h);
    left = std::clamp<int64_t>(static_cast<int64_t>(column - reach), 0, canvas.size.w);
    bottom = std::clamp<int64_t>(static_cast<int64_t>(row + reach) + 1, top, canvas.size.h);
    right = std::clamp<int64_t>(static_cast<int64_t>(column + reach) + 1, left, canvas.size.w);
    distance.reserve(static_cast<size_t>((bottom - top) * (right - left)));
    for (int64_t y = top; y < bottom; ++y)
      for (int64_t x = left; x < right; ++x)
        distance.push_back(thing.scale * thing.shape->distance(thing.to_local(canvas.at(y, x)), thing.form));
  }
  // The nearest pixel's distance; pixels outside repeat the border's.
  float operator()(int64_t row, int64_t column) const {
    const int64_t y = std::clamp(row, top, bottom - 1) - top, x = std::clamp(column, left, right - 1) - left;
    return distance[static_cast<size_t>(y * (right - left) + x)];
  }

  int64_t top, left, bottom, right;
  std::vector<float> distance;
};

// Lambert's law and a highlight on a flat top with a rounded rim; the slope follows the distance's gradient.
Rgb shade(const Thing& thing, const Light& light, Rgb colour, Vec2 gradient, float distance) {
  const float inwards = std::clamp(-distance / (thing.bevel * thing.scale), 0.0F, 1.0F);
  const float slope = 1.1F * (1 - inwards);
  const float length = std::sqrt(1 + slope * slope * (gradient.x * gradient.x + gradient.y * gradient.y));
  const float x = slope * gradient.x / length, y = slope * gradient.y / length, z = 1 / length;
  const float facing = std::max(x * light.x + y * light.y + z * light.z, 0.0F);
  // Halfway between the light and the viewer, up to its length.
  const float half = std::sqrt(2 + 2 * light.z);
  const float mirror = std::max((x * light.x + y * light.y + z * (light.z + 1)) / half, 0.0F);
  const float squared = mirror * mirror, fourth = squared * squared,
              sixteenth = fourth * fourth * fourth * fourth;
  const Rgb lit = colour * (0.42F + 0.75F * facing);
  return mix(lit, Rgb{1, 1, 1}, thing.gloss * sixteenth * sixteenth);
}

void paint_thing(Canvas& canvas, const Thing& thing, const Light& light) {
  const DistanceMap distance(canvas, thing, light.shadow_length + light.shadow_softness);
  const auto shadow_x = static_cast<int64_t>(std::lround(light.shadow_length * light.x * canvas.unit));
  const auto shadow_y = static_cast<int64_t>(std::lround(light.shadow_length * light.y * canvas.unit));
  const float pixel = 1 / canvas.unit;
  for (int64_t row = distance.top; row < distance.bottom; ++row) {
    Rgb* out = canvas.row(row);
    for (int64_t column = distance.left; column < distance.right; ++column) {
      const float here = distance(row, column), cover = std::clamp(0.5F - here * canvas.unit, 0.0F, 1.0F);
      if (cover < 1) {
        const float above = distance(row + shadow_y, column + shadow_x);
        const float dark = std::clamp(0.5F - 0.5F * above / light.shadow_softness, 0.0F, 1.0F);
        out[column] = out[column] * (1 - light.shadow_strength * dark * dark * (3 - 2 * dark));
      }
      if (cover > 0) {
        const float half = 0.5F * canvas.unit;
        const Vec2 gradient{(distance(row, column + 1) - distance(row, column - 1)) * half,
                            (distance(row + 1, column) - distance(row - 1, column)) * half};
        const float second = thing.texture(thing.to_local(canvas.at(row, column)), pixel / thing.scale);
        const Rgb colour = mix(thing.paint.first, thing.paint.second, second);
        out[column] = mix(out[column], shade(thing, light, colour, gradient, here), cover);
      }
    }
  }
}

at::Tensor to_bytes(const Canvas& canvas) {
  auto pixels = at::empty({canvas.size.h, canvas.size.w, 3}, at::kByte);
  auto* out = pixels.mutable_data_ptr<uint8_t>();
  const auto byte = [](float value) {
    return static_cast<uint8_t>(255 * std::clamp(value, 0.0F, 1.0F) + 0.5F);
  };
  for (const auto& pixel : canvas.pixels) {
    *out++ = byte(pixel.r);
    *out++ = byte(pixel.g);
    *out++ = byte(pixel.b);
  }
  return pixels;
}

// Half of a class's shapes have its own pattern; two classes share each.
Pattern class_pattern(int64_t label, Stream& random) {
  const auto any = any_pattern(random);
  return random.uniform() < 0.5 ? static_cast<Pattern>(label % kPatterns) : any;
}

Vec2 away_from(Vec2 centre, double distance, double angle) {
  return {centre.x + static_cast<float>(distance * std::cos(angle)),
          centre.y + static_cast<float>(distance * std::sin(angle))};
}

}  // namespace

at::Tensor draw_scene(Size2 size, int64_t label, Stream random) {
  Canvas canvas(size);
  const ValueNoise noise(random);
  const Light light = draw_light(random);
  const double hue = random.uniform(0, kTurn), lightness = random.uniform(0.42, 0.86);
  const Palette palette{hue, lightness};
  if (random.uniform() < 0.4) {
    paint_landscape(canvas, palette, noise, random);
  } else {
    paint_wall(canvas, palette, light, noise, random);
  }

  const double centre_x = random.uniform(-0.13, 0.13), centre_y = random.uniform(-0.13, 0.13);
  const Vec2 centre{static_cast<float>(centre_x), static_cast<float>(centre_y)};
  const double scale = random.uniform(0.24, 0.36), tilt = random.uniform(-0.5, 0.5);
  const auto pattern = class_pattern(label, random);
  const Shape& shape = kSceneShapes[static_cast<size_t>(label)];
  const Thing main = draw_thing(shape, centre, scale, tilt, pattern, palette, noise, random);

  const int64_t others = 1 + random.below(4), in_front = random.below(std::min<int64_t>(others, 2) + 1);
  const double start = random.uniform(0, kTurn);
  for (int64_t i = 0; i < others; ++i) {
    if (i == others - in_front) paint_thing(canvas, main, light);
    // Those in front keep to the rim of the main shape, each on a side of its own.
    const bool front = i >= others - in_front;
    const double angle =
        start + kTurn * (static_cast<double>(i) + random.uniform(0, 0.6)) / static_cast<double>(others);
    const double other_scale = front ? random.uniform(0.08, 0.13) : random.uniform(0.1, 0.2);
    const double distance =
        front ? scale + random.uniform(0.2, 0.8) * other_scale : scale + random.uniform(0, 0.2);
    const double other_tilt = random.uniform(0, kTurn);
    const auto& other = kDistractorShapes[static_cast<size_t>(random.below(std::ssize(kDistractorShapes)))];
    const auto other_pattern = any_pattern(random);
    paint_thing(canvas,
                draw_thing(other, away_from(centre, distance, angle), other_scale, other_tilt, other_pattern,
                           palette, noise, random),
                light);
  }
  if (in_front == 0) paint_thing(canvas, main, light);
  return to_bytes(canvas);
}

}  // namespace lacuna::data
