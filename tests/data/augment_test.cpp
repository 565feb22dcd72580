#include "lacuna/data/augment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <sstream>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/transform.h"
#include "lacuna/io/safetensors.h"
#include "tests/support/pictures.h"

namespace lacuna::data {
namespace {

using ::testing::HasSubstr;

// Figures of Pillow 13.0.0 and timm 1.0.31, written by tools/make_pillow_figures.py.
const io::Tensors& figures() {
  static const auto loaded = io::load_safetensors(LACUNA_SOURCE_DIR "/tests/data/pillow.safetensors");
  return loaded;
}

Levels levels_of(const at::Tensor& pixels) {
  const auto bytes = pixels.contiguous();
  const auto* data = bytes.const_data_ptr<uint8_t>();
  return {bytes.size(0), bytes.size(1), bytes.size(2), std::vector<uint8_t>(data, data + bytes.numel())};
}

at::Tensor tensor_of(const Levels& picture) {
  return at::tensor(at::ArrayRef<uint8_t>(picture.values), at::kByte)
      .view({picture.height, picture.width, picture.channels});
}

const std::map<std::string, void (*)(Levels&, double)> kLooks{
    {"AutoContrast", [](Levels& p, double) { auto_contrast(p); }},
    {"Equalize", [](Levels& p, double) { equalize(p); }},
    {"Invert", [](Levels& p, double) { invert(p); }},
    {"Posterize", [](Levels& p, double bits) { posterize(p, std::lround(bits)); }},
    {"Solarize", [](Levels& p, double threshold) { solarize(p, std::lround(threshold)); }},
    {"SolarizeAdd", [](Levels& p, double add) { solarize_add(p, std::lround(add)); }},
    {"Color", color},
    {"Contrast", contrast},
    {"Brightness", brightness},
    {"Sharpness", sharpness},
};
const std::map<std::string, Affine (*)(double, double, double)> kPlaces{
    {"Rotate",
     [](double degrees, double w, double h) {
       return rotation(degrees, {static_cast<int64_t>(h), static_cast<int64_t>(w)});
     }},
    {"ShearX", [](double slope, double, double) { return Affine{.b = slope}; }},
    {"ShearY", [](double slope, double, double) { return Affine{.d = slope}; }},
    {"TranslateXRel", [](double share, double w, double) { return Affine{.c = share * w}; }},
    {"TranslateYRel", [](double share, double, double h) { return Affine{.f = share * h}; }},
};

template <class T>
void place(Pixels<T>& picture, const std::string& op, double argument, const std::string& interpolation,
           std::vector<T> fill) {
  fill.resize(static_cast<size_t>(picture.channels));
  const auto width = static_cast<double>(picture.width), height = static_cast<double>(picture.height);
  warp(picture, kPlaces.at(op)(argument, width, height),
       interpolation == "bicubic" ? Interpolation::kBicubic : Interpolation::kBilinear, fill);
}

TEST(PixelOps, EqualPillowToTheBit) {
  int compared = 0;
  for (const auto& [name, wanted] : figures()) {
    if (!name.starts_with("out/")) continue;
    std::istringstream parts(name);
    std::string out, source, op, argument, interpolation;
    for (std::string* part : {&out, &source, &op, &argument, &interpolation}) std::getline(parts, *part, '/');
    Levels picture = levels_of(figures().at("in/" + source));
    if (interpolation.empty())
      kLooks.at(op)(picture, std::stod(argument));
    else
      place<uint8_t>(picture, op, std::stod(argument), interpolation, {124, 116, 104});
    EXPECT_TRUE(at::equal(tensor_of(picture), wanted)) << name;
    ++compared;
  }
  EXPECT_EQ(compared, 183);
}

TEST(PixelOps, OfNoBitsIsBlack) {  // timm's PosterizeIncreasing at full severity
  Levels picture = levels_of(figures().at("in/rgb"));
  posterize(picture, 0);
  EXPECT_EQ(*std::max_element(picture.values.begin(), picture.values.end()), 0);
}

TEST(Warp, OfFloatsIsWhatLevelsAreTruncatedFrom) {
  for (const std::string op : {"Rotate", "ShearY", "TranslateXRel"})
    for (const std::string interpolation : {"bilinear", "bicubic"}) {
      Levels levels = levels_of(figures().at("in/rgb"));
      Pixels<float> floats{levels.height, levels.width, levels.channels,
                           std::vector<float>(levels.values.begin(), levels.values.end())};
      place<uint8_t>(levels, op, 0.21, interpolation, {1, 2, 3});
      place<float>(floats, op, 0.21, interpolation, {1, 2, 3});
      for (size_t i = 0; i < levels.values.size(); ++i)
        EXPECT_NEAR(std::clamp(floats.values[i], 0.0F, 255.0F), levels.values[i] + 0.5, 0.5001) << op << i;
    }
}

TEST(Resample, EqualsPillowToTheBitWhenAsked) {
  int compared = 0;
  for (const auto& [name, wanted] : figures()) {
    if (!name.starts_with("resize/")) continue;
    const Size2 size{wanted.size(0), wanted.size(1)};
    const auto interpolation = name.ends_with("bicubic") ? Interpolation::kBicubic : Interpolation::kBilinear;
    const auto ours =
        resample(figures().at("in/rgb"), {{1, 2, 16, 19}, size, {0, 0, size.h, size.w}, interpolation, true});
    EXPECT_TRUE(at::equal(at::tensor(ours).view(wanted.sizes()), wanted.to(at::kFloat))) << name;
    ++compared;
  }
  EXPECT_EQ(compared, 6);
}

TEST(RandAugmentConfig, ReadsTimmsNotation) {
  const auto config = RandAugmentConfig::parse("rand-m9-mstd0.5-inc1");
  EXPECT_EQ(config.layers, 2);
  EXPECT_EQ(config.magnitude, 9);
  EXPECT_EQ(config.magnitude_std, 0.5);
  EXPECT_EQ(config.magnitude_max, 10);
  EXPECT_EQ(config.prob, 0.5);
  EXPECT_TRUE(config.increasing);
  const auto other = RandAugmentConfig::parse("rand-n3-p0.25-mmax15");
  EXPECT_EQ(other.layers, 3);
  EXPECT_EQ(other.magnitude, 10);
  EXPECT_EQ(other.prob, 0.25);
  EXPECT_EQ(other.magnitude_max, 15);
  EXPECT_FALSE(other.increasing);
  for (const std::string bad :
       {"", "augmix-m3", "original", "rand-w0", "rand-tweights", "rand-m9.5", "rand-m", "rand-m9-m9",
        "rand-inc0", "rand-mstdinf", "rand-p2", "rand-n0", "rand--m9"})
    EXPECT_THROW(RandAugmentConfig::parse(bad), Error) << bad;
  try {
    RandAugmentConfig::parse("rand-x1");
  } catch (const Error& error) {
    EXPECT_STREQ(
        error.what(),
        "augment.auto_augment: unknown part 'x1'; write it as rand-m9-mstd0.5-inc1 (parts: n, m, mstd, "
        "mmax, p, inc1)");
  }
}

TEST(LevelArgument, EqualsTimms) {
  size_t rows_compared = 0;
  for (const bool increasing : {false, true})
    for (const auto& op : rand_augment_ops(increasing)) {
      const auto& rows = figures().at("level/" + op);
      const auto* row = rows.const_data_ptr<double>();
      for (int64_t i = 0; i < rows.size(0); ++i, row += 3, ++rows_compared) {
        EXPECT_EQ(level_argument(op, row[0], false), row[1]) << op << " at " << row[0];
        EXPECT_EQ(level_argument(op, row[0], true), row[2]) << op << " at " << row[0];
      }
    }
  EXPECT_EQ(rows_compared, 2 * 15 * 41U);
  // Beyond timm's usual bound (mmax), where Pillow would refuse or wrap.
  EXPECT_EQ(level_argument("PosterizeIncreasing", 20, false), 0);
  EXPECT_EQ(level_argument("Posterize", 30, false), 8);
  EXPECT_EQ(level_argument("ColorIncreasing", 20, true), 0.1);
  EXPECT_EQ(level_argument("SolarizeAdd", 20, false), 128);
  EXPECT_THROW(level_argument("Colour", 5, false), Error);
}

Levels augmented(const std::string& text, uint64_t sample,
                 std::optional<Interpolation> interpolation = Interpolation::kBicubic) {
  Levels picture = levels_of(figures().at("in/rgb"));
  Stream random(3, "augment", sample);
  RandAugment(RandAugmentConfig::parse(text), interpolation, {0.485, 0.456, 0.406})(picture, random);
  return picture;
}

TEST(RandAugment, IsAFunctionOfItsStream) {
  int changed = 0;
  for (uint64_t sample = 0; sample < 200; ++sample) {
    const auto once = augmented("rand-m9-mstd0.5-inc1", sample);
    EXPECT_EQ(once.values, augmented("rand-m9-mstd0.5-inc1", sample).values);
    changed += once.values != levels_of(figures().at("in/rgb")).values ? 1 : 0;
  }
  // Two operations, each applied in half of the cases; few of them leave this picture as it was.
  EXPECT_NEAR(changed / 200.0, 0.75, 0.12);
  for (uint64_t sample = 0; sample < 20; ++sample)
    EXPECT_EQ(augmented("rand-p0", sample).values, levels_of(figures().at("in/rgb")).values);
}

TEST(RandAugment, DrawsEveryOperationEvenly) {
  // Full magnitude without noise: each draw gives one of a few known pictures.
  std::map<std::vector<uint8_t>, int> seen;
  constexpr int kCount = 3000;
  for (uint64_t sample = 0; sample < kCount; ++sample) ++seen[augmented("rand-n1-p1-m9-inc1", sample).values];
  // 5 operations with one outcome, 9 with two by direction, SolarizeIncreasing's threshold 26.
  std::vector<int> counts;
  for (const auto& [values, count] : seen) counts.push_back(count);
  EXPECT_EQ(seen.size(), 6 + 9 * 2U);
  for (const int count : counts)
    EXPECT_TRUE(std::abs(count - kCount / 15.0) < 60 || std::abs(count - kCount / 30.0) < 45) << count;
}

TEST(RandAugment, MagnitudeFollowsItsDistribution) {
  // BrightnessIncreasing of a flat picture shows its factor: 1 +- 0.09 * level.
  const auto spread = [](const std::string& text) {
    std::vector<double> levels;
    const RandAugment augment(RandAugmentConfig::parse(text), Interpolation::kBicubic, {0.5});
    for (uint64_t sample = 0; sample < 4000; ++sample) {
      Levels picture{1, 1, 1, {100}};
      Stream random(5, "augment", sample);
      const bool brightness = Stream(5, "augment", sample).below(15) == 9;
      augment(picture, random);
      if (brightness) levels.push_back(std::abs(picture.values[0] - 100) / 9.0);
    }
    double mean = 0, square = 0;
    for (const double level : levels) {
      mean += level / static_cast<double>(levels.size());
      square += level * level / static_cast<double>(levels.size());
    }
    return std::pair{mean, std::sqrt(square - mean * mean)};
  };
  EXPECT_NEAR(spread("rand-n1-p1-m5-inc1").second, 0, 0.06);
  EXPECT_NEAR(spread("rand-n1-p1-m5-mstd1-inc1").first, 5, 0.3);
  EXPECT_NEAR(spread("rand-n1-p1-m5-mstd1-inc1").second, 1, 0.2);
  EXPECT_NEAR(spread("rand-n1-p1-m8-mstd101-inc1").first, 4, 0.5);  // uniform in [0, 8]
  EXPECT_NEAR(spread("rand-n1-p1-m8-mstd101-inc1").second, 8 / std::sqrt(12.0), 0.4);
}

TEST(RandAugment, OtherPicturesAreOnlyMoved) {
  // Five bands, and floats: what comes out are values that were in the picture, or the fill.
  const RandAugment augment(RandAugmentConfig::parse("rand-n1-p1-m9-inc1"), Interpolation::kBilinear,
                            std::vector<double>(5, 0.5));
  const auto bands = levels_of(testing::noise(9, 9, 5, 1));
  int moved = 0;
  for (uint64_t sample = 0; sample < 300; ++sample) {
    Levels picture = bands;
    Pixels<float> floats{9, 9, 5, std::vector<float>(9 * 9 * 5, 1000.0F)};
    Stream random(3, "augment", sample), again(3, "augment", sample);
    augment(picture, random);
    augment(floats, 65535, again);
    const auto op = rand_augment_ops(true)[static_cast<size_t>(Stream(3, "augment", sample).below(15))];
    if (kPlaces.count(op) == 0) {
      EXPECT_EQ(picture.values, bands.values) << op;
      EXPECT_EQ(floats.values, std::vector<float>(9 * 9 * 5, 1000.0F)) << op;
    } else {
      ++moved;
      EXPECT_NE(picture.values, bands.values) << op;
      for (const float value : floats.values) EXPECT_TRUE(value == 1000 || value == 0.5F * 65535) << value;
    }
  }
  EXPECT_NEAR(moved, 100, 35);
}

TEST(ColorJitter, DrawsThreeFactorsInAnyOrder) {
  const Levels before = levels_of(figures().at("in/rgb"));
  for (uint64_t sample = 0; sample < 20; ++sample) {
    Levels picture = before, wanted = before;
    Stream random(3, "jitter", sample), again(3, "jitter", sample);
    color_jitter(picture, 0.4, random);
    const auto order = again.permutation(3);
    double factors[3];
    for (double& factor : factors) factor = again.uniform(0.6, 1.4);
    for (const int64_t i : order)
      kLooks.at(std::vector{"Brightness", "Contrast", "Color"}[static_cast<size_t>(i)])(wanted, factors[i]);
    EXPECT_EQ(picture.values, wanted.values);
    EXPECT_NE(picture.values, before.values);
  }
}

// --- erasing -----------------------------------------------------------------------------------------------

TEST(RandomErasing, BoxesFollowTheDistribution) {
  Stream random(1, "erase");
  double area = 0, log_ratio = 0, log_ratio_squared = 0;
  constexpr int kCount = 20000;
  for (int i = 0; i < kCount; ++i) {
    const auto box = RandomErasing::draw_box({1000, 1000}, 1, random);
    ASSERT_TRUE(box.height > 0 && box.width > 0 && box.top >= 0 && box.left >= 0);
    ASSERT_TRUE(box.top + box.height <= 1000 && box.left + box.width <= 1000);
    const double share = static_cast<double>(box.height * box.width) / 1e6;
    const double ratio = static_cast<double>(box.height) / static_cast<double>(box.width);
    ASSERT_TRUE(share > 0.0199 && share < 0.334 && ratio > 0.295 && ratio < 3.4);
    area += share / kCount;
    log_ratio += std::log(ratio) / kCount;
    log_ratio_squared += std::log(ratio) * std::log(ratio) / kCount;
  }
  // No draw is refused here: sqrt(1000^2 / 3 / 0.3) = 1054 only in the corner of the largest and longest.
  EXPECT_NEAR(area, (0.02 + 1.0 / 3) / 2, 0.003);
  EXPECT_NEAR(log_ratio, 0, 0.02);
  EXPECT_NEAR(log_ratio_squared, std::pow(std::log(0.3), 2) / 3, 0.02);
  const auto half = RandomErasing::draw_box({1000, 1000}, 4, random);
  EXPECT_LE(half.height * half.width, 1000 * 1000 / 12 + 2000);
}

/// Erases a picture of fives; gives the erased values.
std::vector<float> erased(const RandomErasing& erase, uint64_t sample, int64_t channel) {
  std::vector<float> picture(2 * 40 * 30, 5.0F), out;
  Stream random(2, "erase", sample);
  erase(picture.data(), 2, {40, 30}, random);
  for (int64_t i = 0; i < 40 * 30; ++i) {
    const float value = picture[static_cast<size_t>(channel * 40 * 30 + i)];
    if (value != 5) out.push_back(value);
  }
  return out;
}

TEST(RandomErasing, ModesFillTheBox) {
  int count = 0;
  double sum = 0, squares = 0;
  for (uint64_t sample = 0; sample < 200; ++sample) {
    for (const float value : erased({1, "const", 1}, sample, 0)) EXPECT_EQ(value, 0);
    const auto first = erased({1, "rand", 1}, sample, 0), second = erased({1, "rand", 1}, sample, 1);
    ASSERT_FALSE(first.empty());
    EXPECT_EQ(first, std::vector<float>(first.size(), first[0]));
    EXPECT_EQ(second, std::vector<float>(first.size(), second[0]));
    EXPECT_NE(first[0], second[0]);
    for (const float value : erased({1, "pixel", 1}, sample, 1)) {
      sum += value;
      squares += value * value;
      ++count;
    }
  }
  EXPECT_NEAR(sum / count, 0, 0.02);
  EXPECT_NEAR(squares / count, 1, 0.03);
}

TEST(RandomErasing, HappensAsOftenAsAsked) {
  int often = 0;
  for (uint64_t sample = 0; sample < 2000; ++sample)
    often += erased({0.25, "const", 3}, sample, 0).empty() ? 0 : 1;
  EXPECT_NEAR(often / 2000.0, 0.25, 0.03);
}

// --- the whole transform
// -------------------------------------------------------------------------------------

at::Tensor transformed(const AugmentConfig& config, const at::Tensor& pixels, uint64_t sample,
                       bool evaluation = false) {
  const int64_t channels = pixels.size(2);
  const std::vector<double> mean(static_cast<size_t>(channels), 0.4),
      std(static_cast<size_t>(channels), 0.25);
  const float peak = pixels.scalar_type() == at::kByte ? 255 : 65535;
  const ImageTransform training(config, {24, 20}, channels, {mean, std});
  auto out = at::empty({channels, 24, 20});
  (evaluation ? training.for_evaluation() : training)(
      {"p", 0, io::Image{pixels, peak}}, Stream(9, "augment", sample), out.mutable_data_ptr<float>());
  return out;
}

TEST(ImageTransform, AugmentsBetweenFlipAndNormalisation) {
  const auto pixels = testing::noise(40, 50, 3, 1);
  AugmentConfig config;
  config.auto_augment = "rand-n2-p1-m9-mstd0.5-inc1";
  config.erase_prob = 0.5;
  int flipped = 0;
  for (uint64_t sample = 0; sample < 20; ++sample) {
    Stream random(9, "augment", sample);
    const auto crop = random_resized_crop({40, 50}, 0.2, 1.0, 0.75, 1.3333333333333333, random);
    const bool flip = random.uniform() < 0.5;
    flipped += flip ? 1 : 0;
    const auto resized =
        at::tensor(resample(pixels, {crop, {24, 20}, {0, 0, 24, 20}, Interpolation::kBicubic, true}))
            .to(at::kByte)
            .view({24, 20, 3});
    Levels levels = levels_of(flip ? resized.flip({1}) : resized);
    RandAugment(RandAugmentConfig::parse(config.auto_augment), Interpolation::kBicubic, {0.4, 0.4, 0.4})(
        levels, random);
    auto wanted = ((tensor_of(levels).permute({2, 0, 1}).to(at::kFloat) / 255 - 0.4) / 0.25).contiguous();
    RandomErasing{0.5, "pixel", 1}(wanted.mutable_data_ptr<float>(), 3, {24, 20}, random);
    EXPECT_TRUE(at::allclose(transformed(config, pixels, sample), wanted, 1e-5, 1e-5)) << sample;
  }
  EXPECT_GT(flipped, 0);
}

TEST(ImageTransform, JitterIsIdleWithAutoAugment) {
  const auto pixels = testing::noise(40, 50, 3, 1);
  AugmentConfig plain, jitter, both;
  jitter.color_jitter = both.color_jitter = 0.4;
  plain.auto_augment = both.auto_augment = "rand-p0";
  EXPECT_FALSE(at::equal(transformed(plain, pixels, 1), transformed(jitter, pixels, 1)));
  EXPECT_TRUE(at::equal(transformed(plain, pixels, 1), transformed(both, pixels, 1)));
}

TEST(ImageTransform, EvaluationAugmentsNothing) {
  const auto pixels = testing::noise(40, 50, 3, 1);
  AugmentConfig plain, all;
  all.auto_augment = "rand-p1";
  all.color_jitter = 0.4;
  all.erase_prob = 1;
  for (uint64_t sample = 0; sample < 5; ++sample)
    EXPECT_TRUE(at::equal(transformed(plain, pixels, 0, true), transformed(all, pixels, sample, true)));
  all.auto_augment = "";
  EXPECT_TRUE(at::equal(transformed(plain, pixels, 0, true), transformed(all, pixels, 1, true)));
  all.interpolation = "random";  // bilinear then, as in timm
  plain.interpolation = "bilinear";
  EXPECT_TRUE(at::equal(transformed(plain, pixels, 0, true), transformed(all, pixels, 1, true)));
}

TEST(ImageTransform, RandomInterpolationDrawsOneForEachPicture) {
  const auto pixels = testing::noise(40, 50, 1, 1);
  AugmentConfig config, bilinear, bicubic;
  for (AugmentConfig* each : {&config, &bilinear, &bicubic}) {
    each->crop = "resize";
    each->flip = 0;
  }
  config.interpolation = "random";
  bilinear.interpolation = "bilinear";
  int of_bilinear = 0;
  for (uint64_t sample = 0; sample < 100; ++sample) {
    const auto out = transformed(config, pixels, sample);
    const bool first = at::equal(out, transformed(bilinear, pixels, sample));
    EXPECT_TRUE(first || at::equal(out, transformed(bicubic, pixels, sample)));
    of_bilinear += first ? 1 : 0;
  }
  EXPECT_NEAR(of_bilinear, 50, 20);
}

TEST(ImageTransform, OtherPicturesAreMovedAndErased) {
  AugmentConfig config;
  config.auto_augment = "rand-p1-m9";
  config.erase_prob = 1;
  config.erase_mode = "const";
  const auto deep = at::full({40, 50, 2}, 30000.0F);
  const auto out = transformed(config, deep, 3);
  // Nothing but the picture's one level, its edge against the fill (0 after normalisation), and what is
  // erased.
  const double level = (30000.0 / 65535 - 0.4) / 0.25;
  EXPECT_GT(out.eq(0).sum().item<int64_t>(), 0);
  EXPECT_GT(out.sub(level).abs().lt(1e-5).sum().item<int64_t>(), 0);
  EXPECT_TRUE(
      out.eq(0).logical_or(out.abs().lt(1e-5)).logical_or(out.sub(level).abs().lt(1e-5)).all().item<bool>());
  config.auto_augment = "";
  config.color_jitter = 0.4;
  EXPECT_THROW(transformed(config, testing::noise(40, 50, 5, 1), 3), Error);
}

TEST(ImageTransform, ChecksThePolicyWhenMade) {
  AugmentConfig config;
  config.auto_augment = "rand-m9-what";
  EXPECT_THROW(ImageTransform(config, {8, 8}, 1, {{0.5}, {1}}), Error);
}

}  // namespace
}  // namespace lacuna::data
