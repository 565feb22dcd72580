#include "lacuna/io/image.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/io/bytes.h"
#include "tests/support/pictures.h"

namespace lacuna::io {
namespace {

using lacuna::testing::noise;
using namespace std::string_literals;

std::string error_of(const std::string& bytes, const ImageLimits& limits = {}) {
  try {
    decode_image(as_bytes_of(bytes), "x", limits);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

/// A smooth picture: JPEG keeps it to within a few levels.
at::Tensor gradient(int64_t height, int64_t width, int64_t channels) {
  const auto y = at::linspace(0, 200, height).view({-1, 1, 1}),
             x = at::linspace(0, 55, width).view({1, -1, 1});
  return (y + x + at::zeros({1, 1, channels})).to(at::kByte).contiguous();
}

std::string little_endian(uint32_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
  return out;
}

std::string npy(const std::string& descr, const std::string& shape, const std::string& data) {
  const std::string header = "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }\n";
  return "\x93NUMPY\x01\x00"s + little_endian(static_cast<uint32_t>(header.size()), 2) + header + data;
}

/// A little-endian TIFF of one strip of grey samples, which ends the file.
std::string tiff(uint32_t height, uint32_t width, uint32_t bits, const std::string& data,
                 uint32_t format = 1) {
  const std::vector<std::array<uint32_t, 3>> tags{
      {256, 4, width}, {257, 4, height}, {258, 3, bits},
      {259, 3, 1},     {262, 3, 1},      {273, 4, 134},
      {277, 3, 1},     {278, 4, height}, {279, 4, static_cast<uint32_t>(data.size())},
      {339, 3, format}};
  std::string out = "II*\0"s + little_endian(8, 4) + little_endian(static_cast<uint32_t>(tags.size()), 2);
  for (const auto& [tag, type, value] : tags)
    out += little_endian(tag, 2) + little_endian(type, 2) + little_endian(1, 4) + little_endian(value, 4);
  return out + little_endian(0, 4) + data;
}

TEST(Png, RoundTripIsExactForOneToFourChannels) {
  for (int64_t channels = 1; channels <= 4; ++channels) {
    const auto pixels = noise(5, 7, channels, 1);
    const std::string bytes = encode_png(pixels);
    EXPECT_TRUE(at::equal(decode_image(as_bytes_of(bytes), "x").pixels, pixels));
    const ImageInfo info = probe_image(as_bytes_of(bytes), "x");
    EXPECT_EQ(info.format, "png");
    EXPECT_EQ(info.height, 5);
    EXPECT_EQ(info.width, 7);
    EXPECT_EQ(info.channels, channels);
  }
}

TEST(Jpeg, RoundTripIsNear) {
  for (const int64_t channels : {1, 3}) {
    const auto pixels = gradient(40, 56, channels);
    const auto read = decode_image(as_bytes_of(encode_jpeg(pixels, 95)), "x").pixels;
    ASSERT_EQ(read.sizes(), pixels.sizes());
    EXPECT_LE((read.to(at::kInt) - pixels.to(at::kInt)).abs().max().item<int>(), 6);
  }
}

TEST(Jpeg, RegionEqualsTheWholePicturesPart) {
  const std::string bytes = encode_jpeg(noise(150, 211, 3, 2), 80);
  const auto whole = decode_image(as_bytes_of(bytes), "x").pixels;
  for (uint64_t i = 0; i < 300; ++i) {
    Stream random(3, "crop", i);
    Rect crop{random.below(140), random.below(200), 0, 0};
    crop.height = 1 + random.below(150 - crop.top);
    crop.width = 1 + random.below(211 - crop.left);
    const auto expected =
        whole.slice(0, crop.top, crop.top + crop.height).slice(1, crop.left, crop.left + crop.width);
    Rect moved = crop;
    const auto part = decode_region(as_bytes_of(bytes), "x", {crop.height, crop.width}, moved).pixels;
    const auto got =
        part.slice(0, moved.top, moved.top + moved.height).slice(1, moved.left, moved.left + moved.width);
    ASSERT_TRUE(at::equal(got, expected))
        << crop.top << " " << crop.left << " " << crop.height << " " << crop.width;
  }
}

TEST(Jpeg, LargeCropsAreDecodedSmallerButNeverBelowTheTarget) {
  const std::string bytes = encode_jpeg(gradient(400, 640, 3), 90);
  Rect crop{40, 80, 320, 480};
  const Image image = decode_region(as_bytes_of(bytes), "x", {80, 100}, crop);
  EXPECT_EQ(crop, (Rect{0, crop.left, 80, 120}));
  EXPECT_EQ(image.height(), 80);
  EXPECT_NEAR(image.pixels[0][crop.left][0].item<int>(), 20 + 7, 4);
}

TEST(Jpeg, CutShortIsAnErrorInBothDecoders) {
  const std::string bytes = encode_jpeg(noise(64, 64, 3, 4), 90);
  for (const size_t length : {bytes.size() - 2, bytes.size() - 1, bytes.size() / 2, size_t{200}, size_t{3}}) {
    const std::string cut = bytes.substr(0, length);
    EXPECT_NE(error_of(cut), "") << length;
    Rect crop{0, 0, 8, 8};
    EXPECT_THROW(decode_region(as_bytes_of(cut), "x", {8, 8}, crop), Error) << length;
  }
}

TEST(Npy, LayoutsAndTypes) {
  const std::string six = "\1\2\3\4\5\6";
  EXPECT_EQ(decode_image(as_bytes_of(npy("|u1", "(2, 3)", six)), "x").pixels.sizes(),
            (at::IntArrayRef{2, 3, 1}));
  const auto chw = decode_image(as_bytes_of(npy("|u1", "(1, 2, 3)", six)), "x").pixels;
  EXPECT_EQ(chw.sizes(), (at::IntArrayRef{2, 3, 1}));
  EXPECT_EQ(chw[1][0][0].item<int>(), 4);
  const Image wide = decode_image(as_bytes_of(npy("<u2", "(1, 3)", six)), "x");
  EXPECT_EQ(wide.peak, 65535);
  EXPECT_EQ(wide.pixels[0][1][0].item<float>(), 0x0403);
  EXPECT_EQ(decode_image(as_bytes_of(npy("<f4", "(1, 1)", "\0\0\xc0\x3f"s)), "x").pixels.item<float>(), 1.5F);
  EXPECT_THAT(error_of(npy("|u1", "(2, 3)", "abc")), ::testing::HasSubstr("needs 6 bytes"));
  EXPECT_THAT(error_of(npy("<c8", "(2, 3)", six)), ::testing::HasSubstr("not read"));
  EXPECT_THAT(error_of(npy("|u1", "(9223372036854775807, 9)", six)), ::testing::HasSubstr("limit"));
}

TEST(Tiff, EightSixteenAndFloat) {
  EXPECT_EQ(decode_image(as_bytes_of(tiff(2, 2, 8, "\1\2\3\4")), "x").pixels[1][0][0].item<int>(), 3);
  const Image wide = decode_image(as_bytes_of(tiff(1, 2, 16, "\1\2\3\4")), "x");
  EXPECT_EQ(wide.pixels[0][1][0].item<float>(), 0x0403);
  EXPECT_EQ(wide.peak, 65535);
  EXPECT_EQ(decode_image(as_bytes_of(tiff(1, 1, 32, "\0\0\xc0\x3f"s, 3)), "x").pixels.item<float>(), 1.5F);
  EXPECT_NE(error_of(tiff(2, 2, 8, "\1\2\3")), "");
  EXPECT_THAT(error_of(tiff(100000, 100000, 8, "\1\2\3")), ::testing::HasSubstr("limit"));
}

TEST(Image, BombsAreRefusedBeforeTheyAreAllocated) {
  std::string png = encode_png(noise(4, 4, 3, 1));
  EXPECT_THAT(error_of(png, {.max_pixels = 15}), ::testing::HasSubstr("the limit is 15"));
  EXPECT_THAT(error_of(png, {.max_bytes = 47}), ::testing::HasSubstr("limit of 47 bytes"));
  png.replace(16, 8, "\x7f\xff\xff\xff\x7f\xff\xff\xff");  // IHDR's width and height
  const auto crc = crc32(0, reinterpret_cast<const Bytef*>(png.data()) + 12, 17);
  for (size_t i = 0; i < 4; ++i) png[29 + i] = static_cast<char>(crc >> (24 - 8 * i) & 0xff);
  EXPECT_THAT(error_of(png), ::testing::HasSubstr("limit"));
  EXPECT_NE(error_of(encode_jpeg(noise(16, 16, 3, 1), 90), {.max_pixels = 100}), "");
}

TEST(Image, GarbageIsNoPicture) {
  EXPECT_THAT(error_of(""), ::testing::HasSubstr("empty"));
  EXPECT_THAT(error_of("hello"), ::testing::HasSubstr("not a JPEG, PNG, TIFF or npy picture"));
  EXPECT_NE(error_of("\xff\xd8\xff\xe0garbage"), "");
  EXPECT_NE(error_of("II*\0garbage"s), "");
}

TEST(Image, MutatedBytesGiveAResultOrAnError) {
  const ImageLimits limits{.max_pixels = 1 << 16, .max_bytes = 1 << 20};
  for (const auto& good : {encode_jpeg(noise(33, 20, 3, 5), 80), encode_jpeg(noise(16, 16, 1, 5), 80),
                           encode_png(noise(9, 8, 3, 6)), tiff(4, 4, 8, std::string(16, 'a')),
                           npy("<u2", "(2, 3)", std::string(12, 'a'))})
    survive_mutations(good, 1000,
                      [&](const std::string& bytes) { decode_image(as_bytes_of(bytes), "x", limits); });
}

}  // namespace
}  // namespace lacuna::io
