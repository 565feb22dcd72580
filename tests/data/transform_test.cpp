#include "lacuna/data/transform.h"

#include <gtest/gtest.h>

#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/io/safetensors.h"
#include "tests/support/pictures.h"

namespace lacuna::data {
namespace {

// Figures of torchvision 0.28.0, written by tools/make_torchvision_figures.py.
const io::Tensors& figures() {
  static const auto loaded = io::load_safetensors(LACUNA_SOURCE_DIR "/tests/data/torchvision.safetensors");
  return loaded;
}
at::Tensor figure(const std::string& name) { return figures().at(name); }

io::Rect whole(const at::Tensor& pixels) { return {0, 0, pixels.size(0), pixels.size(1)}; }

double max_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}
double mean_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().mean().item<double>();
}

class ResizeFigures : public ::testing::TestWithParam<std::tuple<const char*, const char*>> {};

TEST_P(ResizeFigures, EqualTorchvision) {
  const auto [name, mode] = GetParam();
  const bool bicubic = std::string(mode) == "bicubic";
  const auto interpolation = bicubic ? Interpolation::kBicubic : Interpolation::kBilinear;
  const std::string prefix = str("resize.", name, ".");
  const auto input = figure(prefix + "input");
  const auto bytes = figure(prefix + mode + ".uint8"), floats = figure(prefix + mode + ".float");
  const Size2 size{bytes.size(0), bytes.size(1)};
  EXPECT_LT(max_difference(resize(input.to(at::kFloat).div(255), whole(input), size, interpolation), floats),
            1e-5);
  const auto ours = resize(input, whole(input), size, interpolation);
  ASSERT_EQ(ours.scalar_type(), at::kByte);
  EXPECT_LE(max_difference(ours, bytes), 1);
  EXPECT_LE(mean_difference(ours, bytes), 0.0005);
}

INSTANTIATE_TEST_SUITE_P(All, ResizeFigures,
                         ::testing::Combine(::testing::Values("down", "up", "mixed", "bands"),
                                            ::testing::Values("bilinear", "bicubic")));

TEST(Resize, CropsBeforeItResizes) {
  const auto ours = resize(figure("picture"), {3, 8, 31, 40}, {24, 24}, Interpolation::kBicubic);
  EXPECT_LE(max_difference(ours, figure("picture.resized_crop")), 1);
  EXPECT_LE(mean_difference(ours, figure("picture.resized_crop")), 0.0005);
}

TEST(Resize, KeepsAPictureOfTheRightSize) {
  const auto input = testing::noise(9, 14, 3, 1);
  EXPECT_TRUE(at::equal(resize(input, whole(input), {9, 14}, Interpolation::kBicubic), input));
  EXPECT_TRUE(at::equal(resize(input, whole(input), {9, 14}, Interpolation::kBilinear), input));
}

TEST(RandomResizedCrop, EqualsTorchvisionFedWithTheSameDraws) {
  const auto crops = figure("crops");
  const auto* row = crops.const_data_ptr<int64_t>();
  int64_t sample = 0;
  Size2 last;
  for (int64_t i = 0; i < crops.size(0); ++i, row += 6) {
    const Size2 size{row[0], row[1]};
    sample = size == last ? sample + 1 : 0;
    last = size;
    Stream random(7, "crop", static_cast<uint64_t>(sample));
    const auto ours = random_resized_crop(size, 0.2, 1.0, 3.0 / 4, 4.0 / 3, random);
    EXPECT_EQ(ours, (io::Rect{row[2], row[3], row[4], row[5]})) << size << " sample " << sample;
  }
}

TEST(CenterCrop, FollowsTorchvision) {
  // Resize(256), CenterCrop(224) of 375 x 500.
  const auto [resized, crop] = resize_center_crop({375, 500}, {224, 224}, 0.875);
  EXPECT_EQ(resized, (Size2{256, 341}));
  EXPECT_EQ(crop, (io::Rect{16, 58, 224, 224}));  // (341 - 224) / 2 = 58.5 is rounded to even
  // A wide target: the picture covers it whatever its own shape.
  const auto wide = resize_center_crop({100, 100}, {32, 128}, 1.0);
  EXPECT_EQ(wide.resized, (Size2{128, 128}));
  EXPECT_EQ(wide.crop, (io::Rect{48, 0, 32, 128}));
}

TEST(ToChannels, GreyIsPillowsL) {
  const auto grey = to_channels({figure("picture"), 255}, 1, "picture");
  EXPECT_TRUE(at::equal(grey.pixels, figure("picture.grey")));
}

TEST(ToChannels, RepeatsGreyAndDropsAlpha) {
  const auto rgba = testing::noise(4, 5, 4, 3), grey_alpha = testing::noise(4, 5, 2, 4);
  EXPECT_TRUE(at::equal(to_channels({rgba, 255}, 3, "p").pixels, rgba.narrow(2, 0, 3)));
  EXPECT_TRUE(at::equal(to_channels({grey_alpha, 255}, 1, "p").pixels, grey_alpha.narrow(2, 0, 1)));
  EXPECT_TRUE(
      at::equal(to_channels({grey_alpha, 255}, 3, "p").pixels, grey_alpha.narrow(2, 0, 1).expand({4, 5, 3})));
  EXPECT_TRUE(at::equal(to_channels({rgba, 255}, 4, "p").pixels, rgba));
}

TEST(ToChannels, RefusesWhatCannotBeReconciled) {
  try {
    to_channels({testing::noise(2, 2, 5, 0), 255}, 3, "five.tif");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "five.tif: has 5 channels, 3 are asked for; set encoder.in_chans=5 or convert the picture");
  }
}

AugmentConfig plain(const std::string& crop) {
  AugmentConfig config;
  config.crop = crop;
  config.flip = 0;
  return config;
}

TEST(ImageTransform, CentreCropNormalisedEqualsTorchvision) {
  AugmentConfig config = plain("center");
  const ImageTransform transform(config, {28, 28}, 3, {{0.5, 0.4, 0.3}, {0.2, 0.25, 0.3}});
  auto out = at::empty({3, 28, 28});
  transform({"p", 0, io::Image{figure("picture"), 255}}, Stream(0, "augment"), out.mutable_data_ptr<float>());
  EXPECT_LT(max_difference(out, figure("picture.center")), 1.01 / 255 / 0.2);  // one level
  EXPECT_LT(mean_difference(out, figure("picture.center")), 1e-5);
}

TEST(ImageTransform, FlipMirrorsAndEvaluationNeverDoes) {
  AugmentConfig config = plain("resize");
  config.flip = 1;
  const ImageTransform transform(config, {6, 8}, 1, {{0}, {1}});
  const Record record{"p", 0, io::Image{testing::noise(6, 8, 1, 5), 255}};
  auto flipped = at::empty({1, 6, 8}), straight = at::empty({1, 6, 8});
  transform(record, Stream(0, "augment"), flipped.mutable_data_ptr<float>());
  transform.for_evaluation()(record, Stream(0, "augment"), straight.mutable_data_ptr<float>());
  EXPECT_TRUE(at::equal(flipped.flip({2}), straight));
  const auto expected = std::get<io::Image>(record.content).pixels.permute({2, 0, 1}).to(at::kFloat) / 255;
  EXPECT_LT(max_difference(straight, expected), 1e-6);
}

TEST(ImageTransform, SixteenBitIsDividedByItsPeak) {
  const auto pixels = at::full({4, 4, 2}, 65535.0F);
  const ImageTransform transform(plain("resize"), {4, 4}, 2, {{0.5, 0}, {0.5, 2}});
  auto out = at::empty({2, 4, 4});
  transform({"p", 0, io::Image{pixels, 65535}}, Stream(0, "augment"), out.mutable_data_ptr<float>());
  EXPECT_LT(max_difference(out[0], at::ones({4, 4})), 1e-6);
  EXPECT_LT(max_difference(out[1], at::full({4, 4}, 0.5)), 1e-6);
}

TEST(ImageTransform, RefusesNormalisationForOtherChannels) {
  EXPECT_THROW(ImageTransform(plain("resize"), {4, 4}, 1, {{0.5, 0.5, 0.5}, {1, 1, 1}}), Error);
  EXPECT_THROW(ImageTransform(plain("resize"), {4, 4}, 1, {{0.5}, {0}}), Error);
  AugmentConfig reversed = plain("resize");
  reversed.scale = {1.0, 0.2};
  EXPECT_THROW(ImageTransform(reversed, {4, 4}, 1, {{0.5}, {1}}), Error);
}

}  // namespace
}  // namespace lacuna::data
