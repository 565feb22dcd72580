#include "lacuna/io/motion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <numbers>

#include "lacuna/core/draws.h"
#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna::io {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string refusal(const std::function<void()>& read) {
  try {
    read();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

void expect_point(const Motion& motion, int64_t frame, int64_t joint, std::vector<double> wanted) {
  for (int64_t axis = 0; axis < 3; ++axis)
    EXPECT_NEAR(motion.positions[frame][joint][axis].item<double>(), wanted[static_cast<size_t>(axis)], 1e-5)
        << frame << " " << joint << " " << axis;
}

// A root with a child one unit to its right, which has a child one unit above it (y is up in the file).
const std::string kBvh =
    "HIERARCHY\nROOT hip\n{\n OFFSET 0 0 0\n CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation "
    "Yrotation\n JOINT knee\n {\n  OFFSET 1 0 0\n  CHANNELS 3 Zrotation Xrotation Yrotation\n  JOINT foot\n  "
    "{\n"
    "   OFFSET 0 1 0\n   CHANNELS 3 Zrotation Xrotation Yrotation\n   End Site\n   {\n    OFFSET 0 1 0\n   "
    "}\n"
    "  }\n }\n}\nMOTION\nFrames: 2\nFrame Time: 0.02\n";
const std::string kBvhFrames = "1 2 3 0 0 0 0 0 0 0 0 0\n0 0 0 90 0 0 0 0 90 0 0 0\n";

TEST(Bvh, JointsFollowTheirParents) {
  const auto motion = read_bvh(kBvh + kBvhFrames, "a.bvh");
  EXPECT_THAT(motion.skeleton->joints, ElementsAre("hip", "knee", "foot"));
  EXPECT_THAT(motion.skeleton->parents, ElementsAre(-1, 0, 1));
  EXPECT_DOUBLE_EQ(motion.rate, 50);
  expect_point(motion, 0, 0, {1, -3, 2});  // (x, y, z) -> (x, -z, y)
  expect_point(motion, 0, 1, {2, -3, 2});
  expect_point(motion, 0, 2, {2, -3, 3});
  // The root turned by 90 degrees about z: right becomes up, up becomes left.
  expect_point(motion, 1, 1, {0, 0, 1});
  expect_point(motion, 1, 2, {-1, 0, 1});
}

TEST(Bvh, BrokenFilesAreRefusedByName) {
  const auto read = [](const std::string& text) { return refusal([&] { read_bvh(text, "a.bvh"); }); };
  EXPECT_THAT(read(""), HasSubstr("a.bvh: ends too early"));
  EXPECT_THAT(read(kBvh + "1 2 3"), HasSubstr("ends too early"));
  EXPECT_THAT(read(kBvh + "1 2 3 0 0 0 0 0 nan 0 0 0\n"), HasSubstr("'nan' stands where a number should"));
  auto many = kBvh;
  many.replace(many.find("Frames: 2"), 9, "Frames: 1000000000000");
  EXPECT_THAT(read(many), HasSubstr("the limit is"));
  auto none = kBvh;
  none.replace(none.find("Frames: 2"), 9, "Frames: 0");
  EXPECT_THAT(read(none), HasSubstr("holds 0 frames"));
}

const std::string kAsf =
    ":version 1.10\n:units\n mass 1.0\n length 0.45\n angle deg\n:root\n order TX TY TZ RX RY RZ\n axis XYZ\n"
    " position 0 0 0\n orientation 0 0 0\n:bonedata\n begin\n id 1\n name thigh\n direction 0 -1 0\n length "
    "0.9\n"
    " axis 0 0 0 XYZ\n dof rx rz\n limits (-160.0 20.0)\n (-70.0 70.0)\n end\n begin\n id 2\n name shin\n"
    " direction 0 -1 0\n length 0.45\n axis 0 0 90 XYZ\n dof rx\n limits (-10.0 170.0)\n end\n:hierarchy\n "
    "begin\n"
    " root thigh\n thigh shin\n end\n";

TEST(Asf, BonesTurnAboutTheirAxes) {
  const AsfSkeleton skeleton(kAsf, "01.asf");
  const auto motion = skeleton.read_amc(
      "# by hand\n:FULLY-SPECIFIED\n:DEGREES\n1\nroot 0 0.45 0 0 0 0\nthigh 0 0\nshin 0\n2\nroot 0 0 0 0 0 "
      "0\n"
      "thigh 90 0\nshin 90\n",
      "01_01.amc");
  const double inch = 0.0254;  // one 0.45th
  EXPECT_EQ(motion.rate, 120);
  EXPECT_THAT(motion.skeleton->joints, ElementsAre("root", "thigh", "shin"));
  expect_point(motion, 0, 0, {0, 0, inch});
  expect_point(motion, 0, 1, {0, 0, -inch});
  expect_point(motion, 0, 2, {0, 0, -2 * inch});
  // 90 degrees about x: down becomes back (-z), which is axis 1 here.
  expect_point(motion, 1, 1, {0, 2 * inch, 0});
  // The shin's own x is the file's y in the thigh's frame: about it, down stays down there.
  expect_point(motion, 1, 2, {0, 3 * inch, 0});
}

TEST(Asf, BrokenFilesAreRefusedByName) {
  EXPECT_THAT(refusal([] { AsfSkeleton("", "a.asf"); }), HasSubstr("a.asf: has no :root order"));
  auto unknown = kAsf;
  unknown.replace(unknown.find("thigh shin"), 10, "thigh toes");
  EXPECT_THAT(refusal([&] { AsfSkeleton(unknown, "a.asf"); }), HasSubstr("unknown bone 'toes'"));
  auto loose = kAsf;
  loose.replace(loose.find(" thigh shin\n"), 12, "");
  EXPECT_THAT(refusal([&] { AsfSkeleton(loose, "a.asf"); }), HasSubstr("hangs on nothing"));
  const AsfSkeleton skeleton(kAsf, "01.asf");
  EXPECT_THAT(refusal([&] { skeleton.read_amc("1\nwing 0\n", "a.amc"); }), HasSubstr("unknown bone 'wing'"));
  EXPECT_THAT(refusal([&] { skeleton.read_amc("# nothing\n", "a.amc"); }), HasSubstr("holds 0 frames"));
  EXPECT_THAT(refusal([&] { skeleton.read_amc("1\nroot 0 0\n", "a.amc"); }), HasSubstr("a.amc"));
}

TEST(ForwardKinematics, TurnsRowVectors) {
  // A chain of two: the second joint turned by 90 degrees about z moves only what hangs on it.
  auto rotations = torch::zeros({1, 3, 3}, torch::kDouble);
  rotations[0][1][2] = std::numbers::pi / 2;
  const auto offsets =
      torch::tensor({0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0}, torch::kDouble).view({3, 3});
  const auto root = torch::tensor({5.0, 6.0, 7.0}, torch::kDouble).view({1, 3});
  const auto at = forward_kinematics(rotations, offsets, root, {-1, 0, 1});
  EXPECT_TRUE(torch::allclose(at[0][1], torch::tensor({6.0, 6.0, 7.0}, torch::kDouble)));
  EXPECT_TRUE(torch::allclose(at[0][2], torch::tensor({6.0, 5.0, 7.0}, torch::kDouble)));  // (1, 0, 0) R
}

std::string little(uint32_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i));
  return out;
}

/// A zip archive of one stored member.
std::string archive(const std::string& name, const std::string& data, bool wrong_sum = false) {
  auto sum = static_cast<uint32_t>(
      crc32(0, reinterpret_cast<const Bytef*>(data.data()), static_cast<uInt>(data.size())));
  if (wrong_sum) ++sum;
  const std::string sizes = little(sum, 4) + little(static_cast<uint32_t>(data.size()), 4) +
                            little(static_cast<uint32_t>(data.size()), 4) +
                            little(static_cast<uint32_t>(name.size()), 2);
  const std::string local = "PK\3\4" + little(20, 2) + little(0, 2) + little(0, 2) + little(0, 4) + sizes +
                            little(0, 2) + name + data;
  const std::string central = "PK\1\2" + little(20, 2) + little(20, 2) + little(0, 2) + little(0, 2) +
                              little(0, 4) + sizes + little(0, 2) + little(0, 2) + little(0, 2) +
                              little(0, 2) + little(0, 4) + little(0, 4) + name;
  return local + central + "PK\5\6" + little(0, 4) + little(1, 2) + little(1, 2) +
         little(static_cast<uint32_t>(central.size()), 4) + little(static_cast<uint32_t>(local.size()), 4) +
         little(0, 2);
}

std::string array(const std::string& type, const std::string& shape, const std::string& data) {
  std::string header = "{'descr': '" + type + "', 'fortran_order': False, 'shape': " + shape + ", }";
  header.resize(117, ' ');
  header += '\n';
  return std::string("\x93NUMPY\1\0", 8) + little(118, 2) + header + data;
}

std::map<std::string, at::Tensor> read(const std::string& bytes) {
  return read_npz(std::as_bytes(std::span(bytes)), "a.npz");
}

TEST(Npz, ArraysAreReadByName) {
  const float values[] = {1.5F, -2.0F};
  const std::string data(reinterpret_cast<const char*>(values), sizeof values);
  const auto found = read(archive("S1/Walking.npy", array("<f4", "(2,)", data)));
  ASSERT_EQ(found.size(), 1U);
  EXPECT_TRUE(found.at("S1/Walking").equal(torch::tensor({1.5F, -2.0F})));
}

TEST(Npz, BrokenFilesAreRefusedByName) {
  const std::string data(8, '\0');
  const auto says = [](const std::string& bytes) { return refusal([&] { read(bytes); }); };
  EXPECT_THAT(says(""), HasSubstr("a.npz"));
  EXPECT_THAT(says("no zip at all, but long enough to be looked at"), HasSubstr("no zip archive"));
  EXPECT_THAT(says(archive("x.npy", array("<f4", "(2,)", data), true)), HasSubstr("checksum"));
  EXPECT_THAT(says(archive("x.npy", array("<f4", "(3,)", data))), HasSubstr("needs 3 values"));
  EXPECT_THAT(says(archive("x.npy", array("|O", "(1,)", data))), HasSubstr("pickled"));
  EXPECT_THAT(says(archive("x.npy", array("<c8", "(1,)", data))), HasSubstr("not read"));
  EXPECT_THAT(says(archive("x.txt", data)), HasSubstr("holds no array"));
  EXPECT_THAT(says(archive("x.npy", "short")), HasSubstr("a.npz#x"));
}

// Whatever is changed or cut, a result or an Error is the answer.
TEST(MotionFiles, MutationsAreAnsweredOrRefused) {
  const std::string npz = archive("x.npy", array("<f4", "(2,)", std::string(8, '\1')));
  const std::string amc = "1\nroot 0 0 0 0 0 0\nthigh 0 0\nshin 0\n";
  const AsfSkeleton skeleton(kAsf, "01.asf");
  const std::vector<std::pair<std::string, std::function<void(const std::string&)>>> readers = {
      {kBvh + kBvhFrames, [](const std::string& text) { read_bvh(text, "x"); }},
      {kAsf, [](const std::string& text) { AsfSkeleton(text, "x"); }},
      {amc, [&](const std::string& text) { skeleton.read_amc(text, "x"); }},
      {npz, [](const std::string& bytes) { read(bytes); }}};
  for (size_t r = 0; r < readers.size(); ++r) {
    Stream random(7, "mutations", r);
    for (int i = 0; i < 400; ++i) {
      std::string bytes = readers[r].first;
      for (int64_t change = random.below(4); change >= 0; --change)
        bytes[static_cast<size_t>(random.below(std::ssize(bytes)))] = static_cast<char>(random.below(256));
      if (random.below(3) == 0) bytes.resize(static_cast<size_t>(random.below(std::ssize(bytes))));
      refusal([&] { readers[r].second(bytes); });
    }
  }
}

}  // namespace
}  // namespace lacuna::io
