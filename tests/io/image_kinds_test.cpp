// Kinds of pictures that lacuna reads but does not write: their pixels, by value.

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lacuna/io/image.h"
#include "tests/io/bytes.h"
#include "tests/support/encoders.h"
#include "tests/support/pictures.h"

namespace lacuna::io {
namespace {

using ::testing::HasSubstr;
using testing::JpegKind;
using testing::noise;
using testing::PngKind;
using testing::TiffKind;
using testing::write_jpeg;
using testing::write_png;
using testing::write_tiff;

Image read(const std::string& bytes, const ImageLimits& limits = {}) {
  return decode_image(as_bytes_of(bytes), "x", limits);
}

std::string error_of(const std::string& bytes, const ImageLimits& limits = {}) {
  try {
    read(bytes, limits);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

/// [height, width, channels] int32 noise below `levels`.
at::Tensor levels(int64_t height, int64_t width, int64_t channels, int64_t below) {
  auto out = at::empty({height, width, channels}, at::kInt);
  Stream random(5, "levels");
  for (int64_t i = 0; i < out.numel(); ++i)
    out.mutable_data_ptr<int>()[i] = static_cast<int>(random.below(below));
  return out;
}

void expect_pixels(const Image& image, const at::Tensor& wanted, at::ScalarType type, float peak) {
  ASSERT_EQ(image.pixels.sizes(), wanted.sizes());
  EXPECT_EQ(image.pixels.scalar_type(), type);
  EXPECT_EQ(image.peak, peak);
  EXPECT_TRUE(image.pixels.is_contiguous());
  EXPECT_TRUE(at::equal(image.pixels, wanted.to(type)));
}

// --- PNG -------------------------------------------------------------------------------------------------

constexpr int kPngColors[] = {PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB,
                              PNG_COLOR_TYPE_RGB_ALPHA};

TEST(PngKinds, SixteenBitsKeepEveryLevel) {
  for (int64_t channels = 1; channels <= 4; ++channels)
    for (const bool interlaced : {false, true}) {
      const auto samples = levels(7, 5, channels, 65536);
      const std::string bytes =
          write_png(samples, {.color_type = kPngColors[channels - 1], .bits = 16, .interlaced = interlaced});
      expect_pixels(read(bytes), samples, at::kFloat, 65535);
      EXPECT_EQ(probe_image(as_bytes_of(bytes), "x").bits, 16);
    }
}

TEST(PngKinds, InterlacedEqualsPlain) {
  for (const auto& [height, width] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {2, 9}, {9, 2}, {17, 13}})
    for (int64_t channels = 1; channels <= 4; ++channels) {
      const auto samples = levels(height, width, channels, 256);
      const std::string bytes =
          write_png(samples, {.color_type = kPngColors[channels - 1], .interlaced = true});
      expect_pixels(read(bytes), samples, at::kByte, 255);
    }
}

TEST(PngKinds, SmallGreyLevelsFillTheRange) {
  for (const int bits : {1, 2, 4})
    for (const bool interlaced : {false, true}) {
      const int top = (1 << bits) - 1;
      const auto samples = levels(6, 11, 1, top + 1);
      const PngKind kind{.color_type = PNG_COLOR_TYPE_GRAY, .bits = bits, .interlaced = interlaced};
      expect_pixels(read(write_png(samples, kind)), samples * (255 / top), at::kByte, 255);
    }
}

TEST(PngKinds, PalettesAreLookedUp) {
  for (const int bits : {1, 2, 4, 8})
    for (const bool interlaced : {false, true}) {
      PngKind kind{.color_type = PNG_COLOR_TYPE_PALETTE, .bits = bits, .interlaced = interlaced};
      const int count = std::min(1 << bits, 200);
      const auto colors = levels(count, 1, 3, 256);
      for (int i = 0; i < count; ++i) {
        const int* color = colors.const_data_ptr<int>() + 3 * i;
        kind.palette.push_back({static_cast<png_byte>(color[0]), static_cast<png_byte>(color[1]),
                                static_cast<png_byte>(color[2])});
      }
      const auto samples = levels(5, 9, 1, count);
      const auto wanted = colors.view({count, 3}).index_select(0, samples.flatten()).view({5, 9, 3});
      expect_pixels(read(write_png(samples, kind)), wanted, at::kByte, 255);
      if (bits < 8) continue;
      kind.alpha = {0, 77};  // the entries behind them are opaque
      auto opacity = at::full({count, 1}, 255, at::kInt);
      opacity[0][0] = 0, opacity[1][0] = 77;
      const auto with_alpha =
          at::cat({wanted, opacity.index_select(0, samples.flatten()).view({5, 9, 1})}, 2);
      expect_pixels(read(write_png(samples, kind)), with_alpha, at::kByte, 255);
    }
}

TEST(PngKinds, ATransparentGreyLevelBecomesAlpha) {
  const auto samples = levels(8, 8, 1, 4);
  const PngKind kind{.color_type = PNG_COLOR_TYPE_GRAY, .bits = 2, .transparent = 3};
  const auto wanted = at::cat({samples * 85, (samples != 3).to(at::kInt) * 255}, 2);
  expect_pixels(read(write_png(samples, kind)), wanted, at::kByte, 255);
}

TEST(PngKinds, PalettesWithoutTheIndexedColourAreErrors) {
  const PngKind kind{.color_type = PNG_COLOR_TYPE_PALETTE, .bits = 8, .palette = {{1, 2, 3}}};
  const std::string bytes = write_png(levels(4, 4, 1, 1), kind);
  std::string without = bytes;
  without.erase(bytes.find("PLTE") - 4, 15);
  EXPECT_THAT(error_of(without), HasSubstr("broken PNG"));
}

// --- JPEG ------------------------------------------------------------------------------------------------

/// Four quarters of plain CMYK: light of each ink from 0 (full ink) to 255 (none).
at::Tensor quarters() {
  const auto colors =
      at::tensor({255, 0, 0, 255, 40, 200, 120, 255, 255, 255, 255, 128, 10, 20, 30, 64}, at::kByte);
  return colors.view({2, 2, 4}).repeat_interleave(16, 0).repeat_interleave(16, 1).contiguous();
}

/// Red, green and blue that the inks leave.
at::Tensor light_of(const at::Tensor& cmyk) {
  const auto light = cmyk.to(at::kFloat);
  return light.slice(2, 0, 3) * light.slice(2, 3, 4) / 255;
}

TEST(JpegKinds, CmykBecomesRgb) {
  const auto light = quarters();
  const auto check = [&](const std::string& bytes) {
    const Image image = read(bytes);
    ASSERT_EQ(image.pixels.sizes(), (at::IntArrayRef{32, 32, 3}));
    EXPECT_LE((image.pixels.to(at::kFloat) - light_of(light)).abs().max().item<float>(), 4);
    EXPECT_EQ(probe_image(as_bytes_of(bytes), "x").channels, 3);
    Rect crop{18, 17, 6, 9};
    const auto part = decode_region(as_bytes_of(bytes), "x", {6, 9}, crop).pixels;
    const auto got = part.slice(0, crop.top, crop.top + 6).slice(1, crop.left, crop.left + 9);
    EXPECT_TRUE(at::equal(got, image.pixels.slice(0, 18, 24).slice(1, 17, 26)));
  };
  check(write_jpeg(light, {.stored = JCS_CMYK}));  // Adobe's: light is stored
  check(write_jpeg(255 - light, {.stored = JCS_CMYK, .adobe_marker = false}));
  check(write_jpeg(light, {.stored = JCS_YCCK}));
  check(write_jpeg(light, {.stored = JCS_YCCK, .progressive = true}));
}

TEST(JpegKinds, RgbWithoutAColourTransformAndProgressive) {
  const auto pixels = quarters().slice(2, 0, 3);
  for (const auto& kind :
       {JpegKind{JCS_RGB, JCS_RGB, true, false}, JpegKind{JCS_RGB, JCS_YCbCr, false, true}}) {
    const auto image = read(write_jpeg(pixels, kind)).pixels;
    ASSERT_EQ(image.sizes(), pixels.sizes());
    EXPECT_LE((image.to(at::kInt) - pixels.to(at::kInt)).abs().max().item<int>(), 3);
  }
}

TEST(JpegKinds, EndlessScansAreRefused) {
  const std::string bytes = write_jpeg(noise(16, 16, 1, 3), {JCS_GRAYSCALE, JCS_GRAYSCALE, false, true});
  const size_t last = bytes.rfind("\xff\xda"), end = bytes.rfind("\xff\xd9");
  std::string many = bytes.substr(0, end);
  for (int i = 0; i < 200; ++i) many += bytes.substr(last, end - last);
  EXPECT_THAT(error_of(many + bytes.substr(end)),
              ::testing::AnyOf(HasSubstr("scans"), HasSubstr("broken JPEG")));
}

// --- TIFF ------------------------------------------------------------------------------------------------

/// 16-bit samples as int16, which holds their bits.
at::Tensor words(const at::Tensor& samples) {
  return at::where(samples > 32767, samples - 65536, samples).to(at::kShort);
}

std::string name_of(const TiffKind& kind, int64_t channels) {
  return str(kind.mode, kind.tiled ? " tiled" : " strips", kind.planar ? " planar" : " chunky",
             " compression ", kind.compression, " predictor ", kind.predictor, ", ", channels, " channels");
}

/// Every layout of bytes, bands and blocks; each with 1, 3 and 5 bands.
template <class Check>
void for_each_layout(const std::vector<int>& predictors, Check check) {
  for (const char* mode : {"wl", "wb", "wl8"})
    for (const bool tiled : {false, true})
      for (const bool planar : {false, true})
        for (const int compression :
             {COMPRESSION_NONE, COMPRESSION_LZW, COMPRESSION_ADOBE_DEFLATE, COMPRESSION_PACKBITS})
          for (const int64_t channels : {1, 3, 5})
            for (const int predictor : predictors) {
              const bool predicts =
                  compression == COMPRESSION_LZW || compression == COMPRESSION_ADOBE_DEFLATE;
              if (predictor != 1 && !predicts) continue;
              const TiffKind kind{.mode = mode,
                                  .photometric = channels == 3 ? PHOTOMETRIC_RGB : PHOTOMETRIC_MINISBLACK,
                                  .compression = compression,
                                  .predictor = predictor,
                                  .planar = planar,
                                  .tiled = tiled};
              SCOPED_TRACE(name_of(kind, channels));
              check(kind, channels);
              if (::testing::Test::HasFatalFailure()) return;
            }
}

TEST(TiffKinds, EightBits) {
  for_each_layout({1, 2}, [](const TiffKind& kind, int64_t channels) {
    const auto samples = noise(19, 37, channels, 4);
    expect_pixels(read(write_tiff(samples, kind)), samples, at::kByte, 255);
  });
}

TEST(TiffKinds, SixteenBits) {
  for_each_layout({1, 2}, [](const TiffKind& kind, int64_t channels) {
    const auto samples = levels(19, 37, channels, 65536);
    expect_pixels(read(write_tiff(words(samples), kind)), samples, at::kFloat, 65535);
  });
}

TEST(TiffKinds, Floats) {
  for_each_layout({1, 3}, [](const TiffKind& kind, int64_t channels) {
    // libtiff 4.5 reads this right, but writes it with the bytes of every value reversed.
    if (kind.mode == std::string("wb") && kind.predictor == 3) return;
    const auto samples = (levels(19, 37, channels, 65536) - 30000).to(at::kFloat) / 7;
    expect_pixels(read(write_tiff(samples, kind)), samples, at::kFloat, 1);
  });
}

TEST(TiffKinds, WhiteIsZero) {
  const auto bytes = noise(4, 5, 1, 4);
  expect_pixels(read(write_tiff(bytes, {.photometric = PHOTOMETRIC_MINISWHITE})), 255 - bytes, at::kByte,
                255);
  const auto samples = levels(4, 5, 1, 65536);
  expect_pixels(read(write_tiff(words(samples), {.photometric = PHOTOMETRIC_MINISWHITE})), 65535 - samples,
                at::kFloat, 65535);
}

TEST(TiffKinds, JpegInside) {
  const auto pixels = quarters().slice(2, 0, 3).contiguous();
  for (const bool tiled : {false, true})
    for (const int photometric : {PHOTOMETRIC_YCBCR, PHOTOMETRIC_RGB}) {
      const auto image = read(write_tiff(pixels, {.photometric = photometric,
                                                  .compression = COMPRESSION_JPEG,
                                                  .tiled = tiled,
                                                  .rows_per_strip = 8}))
                             .pixels;
      ASSERT_EQ(image.sizes(), pixels.sizes());
      EXPECT_LE((image.to(at::kInt) - pixels.to(at::kInt)).abs().max().item<int>(), 3);
    }
}

TEST(TiffKinds, WhatIsNotReadIsNamed) {
  const auto grey = noise(4, 5, 1, 4);
  EXPECT_THAT(error_of(write_tiff(grey, {.photometric = PHOTOMETRIC_PALETTE})),
              HasSubstr("convert it to RGB"));
  EXPECT_THAT(error_of(write_tiff(noise(4, 5, 4, 4), {.photometric = PHOTOMETRIC_SEPARATED})),
              HasSubstr("CMYK"));
  EXPECT_THAT(error_of(write_tiff(noise(4, 5, 3, 4), {.photometric = PHOTOMETRIC_CIELAB})), HasSubstr("Lab"));
  EXPECT_THAT(error_of(write_tiff(words(levels(4, 5, 1, 9)), {.format = SAMPLEFORMAT_INT})),
              HasSubstr("16 bits, sample format 2"));
}

// --- all of them -----------------------------------------------------------------------------------------

TEST(ImageKinds, SizesThatOverflowAreRefused) {
  // channels * 4 bytes is 2^64 + 4, as if the array held one value
  const std::string header =
      "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 4611686018427387905), }\n";
  const std::string magic("\x93NUMPY\x01\x00", 8);
  const std::string npy = magic + static_cast<char>(header.size()) + '\0' + header + std::string(4, '\0');
  EXPECT_THAT(error_of(npy), HasSubstr("limit"));
}

TEST(ImageKinds, MutatedBytesGiveAResultOrAnError) {
  const ImageLimits limits{.max_pixels = 1 << 16, .max_bytes = 1 << 20};
  const auto pixels = noise(20, 18, 3, 8);
  const PngKind palette{.color_type = PNG_COLOR_TYPE_PALETTE,
                        .bits = 2,
                        .interlaced = true,
                        .palette = {{1, 2, 3}, {4, 5, 6}, {7, 8, 9}, {250, 251, 252}},
                        .alpha = {0, 128}};
  for (const auto& good :
       {write_png(levels(9, 7, 4, 65536),
                  {.color_type = PNG_COLOR_TYPE_RGB_ALPHA, .bits = 16, .interlaced = true}),
        write_png(levels(9, 7, 1, 4), palette), write_jpeg(noise(24, 17, 4, 8), {.stored = JCS_YCCK}),
        write_jpeg(pixels,
                   {.input = JCS_RGB, .stored = JCS_YCbCr, .adobe_marker = false, .progressive = true}),
        write_tiff(pixels, {.compression = COMPRESSION_LZW, .predictor = 2, .tiled = true}),
        write_tiff(pixels, {.mode = "wb", .compression = COMPRESSION_ADOBE_DEFLATE, .planar = true}),
        write_tiff(pixels,
                   {.photometric = PHOTOMETRIC_YCBCR, .compression = COMPRESSION_JPEG, .rows_per_strip = 8}),
        write_tiff(pixels.to(at::kFloat), {.mode = "wl8", .compression = COMPRESSION_PACKBITS})})
    survive_mutations(good, 1000, [&](const std::string& bytes) { read(bytes, limits); });
}

}  // namespace
}  // namespace lacuna::io
