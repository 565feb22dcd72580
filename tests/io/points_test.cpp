#include "lacuna/io/point_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "lacuna/core/error.h"
#include "tests/support/shared.h"

namespace lacuna::io {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Points read(const std::string& text, const std::string& name, const PointLimits& limits = {}) {
  return read_points(std::as_bytes(std::span(text)), name, limits);
}

std::string refusal(const std::string& text, const std::string& name, const PointLimits& limits = {}) {
  try {
    read(text, name, limits);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

template <class T>
std::string raw(std::vector<T> values, bool big = false) {
  std::string out;
  for (const T value : values) {
    std::string bytes(sizeof(T), '\0');
    std::memcpy(bytes.data(), &value, sizeof(T));
    if (big) std::reverse(bytes.begin(), bytes.end());
    out += bytes;
  }
  return out;
}

TEST(PointRows, KittiHasFourNumbersNuScenesFive) {
  const auto kitti = read(raw<float>({1, 2, 3, 0.5F, 4, 5, 6, 0.25F}), "0.bin");
  EXPECT_THAT(kitti.fields, ElementsAre("x", "y", "z", "intensity"));
  EXPECT_EQ(kitti.count(), 2);
  EXPECT_EQ(kitti.values[5], 5);
  EXPECT_THAT(read(raw<float>({1, 2, 3, 9, 31}), "0.pcd.bin").fields,
              ElementsAre("x", "y", "z", "intensity", "ring"));
  EXPECT_THAT(refusal(std::string(17, 'x'), "0.bin"), HasSubstr("no multiple"));
  EXPECT_THAT(refusal(std::string(160, 'x'), "0.bin", {.max_points = 9}), HasSubstr("10 points"));
  EXPECT_EQ(read("", "0.bin").count(), 0);
}

std::string ply(const std::string& format) {
  return "ply\nformat " + format +
         " 1.0\ncomment made by hand\nelement face 1\nproperty list uchar int vertex_indices\nelement vertex "
         "2\n"
         "property uchar red\nproperty float z\nproperty double y\nproperty float x\nproperty short label\n"
         "end_header\n";
}

TEST(Ply, AsciiAndBothBinaryOrdersAgree) {
  for (const bool big : {false, true}) {
    const auto face = std::string(1, '\2') + raw<int32_t>({7, 8}, big);
    const auto row = [&](uint8_t red, float z, double y, float x, int16_t label) {
      return std::string(1, static_cast<char>(red)) + raw<float>({z}, big) + raw<double>({y}, big) +
             raw<float>({x}, big) + raw<int16_t>({label}, big);
    };
    const auto cloud = read(ply(big ? "binary_big_endian" : "binary_little_endian") + face +
                                row(200, 3, 2, 1, 4) + row(10, 6, 5, 4, -1),
                            "a.ply");
    EXPECT_THAT(cloud.fields, ElementsAre("x", "y", "z", "red"));
    EXPECT_THAT(cloud.values, ElementsAre(1, 2, 3, 200, 4, 5, 6, 10));
    EXPECT_THAT(cloud.labels, ElementsAre(4, -1));
  }
  const auto text = read(ply("ascii") + "2 7 8\n200 3 2 1 4\n10 6 nan 4 -1\n", "a.ply");
  EXPECT_EQ(text.values[3], 200);
  EXPECT_TRUE(std::isnan(text.values[5]));
}

TEST(Ply, BrokenFilesAreRefused) {
  EXPECT_THAT(refusal("plx", "a.ply"), HasSubstr("no PLY header"));
  EXPECT_THAT(refusal(ply("ascii") + "2 7 8\n200 3", "a.ply"), HasSubstr("too early"));
  EXPECT_THAT(
      refusal("ply\nformat ascii 1.0\nelement vertex 99999999999\nproperty float x\nproperty float y\n"
              "property float z\nend_header\n1 2 3\n",
              "a.ply"),
      HasSubstr("ends too early"));
  EXPECT_THAT(refusal("ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n", "a.ply"),
              HasSubstr("no single y"));
}

TEST(Off, VerticesCommentsAndModelNetsHeader) {
  EXPECT_THAT(read("OFF # a mesh\n2 0 0\n0 0 1 # first\n1 2 3\n", "a.off").values,
              ElementsAre(0, 0, 1, 1, 2, 3));
  EXPECT_THAT(read("OFF1 0 0\n4 5 6\n", "a.off").values, ElementsAre(4, 5, 6));
  EXPECT_THAT(refusal("OFF\n3 0 0\n1 2 3\n", "a.off"), HasSubstr("too early"));
  EXPECT_THAT(refusal("PLY", "a.off"), HasSubstr("does not begin with OFF"));
}

TEST(RealPoints, SizesAreThoseOfTheReadmes) {
  LACUNA_NEEDS_SHARED("data/indoor-rgb-points/scannet-scene0000_00.ply");
  const auto path = testing::shared_folder() / "data/indoor-rgb-points/scannet-scene0000_00.ply";
  const auto cloud = read(read_file(path), path.string());
  EXPECT_EQ(cloud.count(), 40684);
  EXPECT_THAT(cloud.fields, ElementsAre("x", "y", "z", "red", "green", "blue"));
}

}  // namespace
}  // namespace lacuna::io
