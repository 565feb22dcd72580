#include "lacuna/data/points.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "tests/support/pictures.h"
#include "tests/support/shared.h"

namespace lacuna::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string refusal(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

std::string rows(const std::vector<float>& values) {
  std::string out(values.size() * sizeof(float), '\0');
  std::memcpy(out.data(), values.data(), out.size());
  return out;
}

Record cloud_of(int64_t count) {
  io::Points cloud{.fields = {"x", "y", "z", "intensity"}};
  for (int64_t i = 0; i < count; ++i)
    for (const double value : {1.0 + static_cast<double>(i), 2.0, 3.0, 0.5})
      cloud.values.push_back(static_cast<float>(value));
  for (int64_t i = 0; i < count; ++i) cloud.labels.push_back(static_cast<int32_t>(i));
  return {"cloud", kNoLabel, cloud};
}

TEST(PointsTransform, EvaluationKeepsPointsAsTheyAre) {
  PointsConfig config;
  config.max = 4;
  const auto plain = PointsTransform(config).evaluating();
  const auto filling = plain->begin(2);
  filling->fill(0, cloud_of(8), Stream(0, "x"));
  filling->fill(1, cloud_of(2), Stream(0, "x"));
  const auto batch = filling->finish({0, 1});
  EXPECT_EQ(batch.points.sizes(), (std::vector<int64_t>{2, 4, 4}));
  EXPECT_TRUE(batch.point_count.equal(torch::tensor({4, 2}, torch::kLong)));
  EXPECT_TRUE(batch.points[0].select(1, 0).equal(torch::tensor({1.0F, 3.0F, 5.0F, 7.0F})));  // evenly spread
  EXPECT_TRUE(batch.point_label[1].equal(torch::tensor({0, 1, -1, -1}, torch::kLong)));
  EXPECT_EQ(batch.points[1].slice(0, 2).abs().sum().item<double>(), 0);
}

TEST(PointsTransform, AugmentationKeepsShapesUpToScale) {
  PointsConfig config;
  config.scale = {2, 2};
  for (const char* axis : {"z", "any"}) {
    config.axis = axis;
    const auto got = PointsTransform(config)(cloud_of(50), Stream(1, "x"));
    const auto xyz = got.points.slice(1, 0, 3);
    const auto order = got.label.argsort();
    const auto sorted = xyz.index_select(0, order);
    EXPECT_NEAR((sorted[10] - sorted[3]).norm().item<double>(), 2 * 7, 1e-4) << axis;
    EXPECT_TRUE(got.points.select(1, 3).eq(0.5).all().item<bool>());
    EXPECT_FALSE(order.equal(torch::arange(50)));  // shuffled
    if (std::string(axis) == "z") EXPECT_NEAR(xyz.select(1, 2).max().item<double>(), 6, 1e-5);
  }
}

TEST(PointsTransform, PointsThatAreNotFiniteAreLeftOut) {
  auto record = cloud_of(5);
  auto& cloud = std::get<io::Points>(record.content);
  cloud.values[4] = NAN, cloud.values[11] = INFINITY;
  const auto got = PointsTransform(PointsConfig())(record, Stream(1, "x"));
  EXPECT_EQ(got.points.size(0), 3);
  EXPECT_TRUE(got.points.isfinite().all().item<bool>());
}

TEST(PointsTransform, AFieldThatIsNotThereIsNamed) {
  PointsConfig config;
  config.fields_kept = {"x", "y", "z", "time"};
  EXPECT_THAT(refusal([&] { PointsTransform{config}(cloud_of(1), Stream(1, "x")); }), HasSubstr("no 'time'"));
}

TEST(PointSets, SweepsMeetInThePlaceOfTheNewest) {
  const testing::TemporaryFolder folder;
  testing::write_file(folder / "0.bin", rows({1, 0, 0, 9}));
  testing::write_file(folder / "1.bin", rows({1, 0, 0, 8}));
  // The sensor stands at the origin, then at (2, 0, 0), turned by 90 degrees to the left.
  testing::write_file(folder / "poses.txt", "1 0 0 0 0 1 0 0 0 0 1 0\n0 -1 0 2 1 0 0 0 0 0 1 0\n");
  testing::write_file(folder / "times.txt", "0.5\n0.75\n");
  const auto set = open_dataset("points:" + folder.path().string() + "?sweeps=2");
  const auto cloud = decode_points(set->get(1));
  EXPECT_THAT(cloud.fields, ElementsAre("x", "y", "z", "intensity", "time"));
  ASSERT_EQ(cloud.count(), 2);
  // The old point is 1 m before the new place, on the new sensor's left.
  EXPECT_THAT(cloud.values, ElementsAre(1, 0, 0, 8, 0, 0, 1, 0, 9, 0.25F));
  EXPECT_EQ(decode_points(set->get(0)).count(), 1);
  testing::write_file(folder / "poses.txt", "1 0 0 0\n");
  EXPECT_THAT(refusal([&] { open_dataset("points:" + folder.path().string() + "?sweeps=2"); }),
              HasSubstr("12 numbers a file"));
}

TEST(PointSets, RealSetsOpen) {
  LACUNA_NEEDS_SHARED("data/psb-shapes");
  const auto shared = testing::shared_folder() / "data";
  const auto shapes = open_dataset("points:" + (shared / "psb-shapes").string(), "test");
  EXPECT_EQ(shapes->size(), 266);
  EXPECT_EQ(shapes->classes().size(), 17U);
  EXPECT_EQ(decode_points(shapes->get(3)).count(), 2048);
  const auto sweep = open_dataset("points:" + (shared / "nuscenes-sample").string());
  EXPECT_EQ(sweep->size(), 1);
  EXPECT_EQ(decode_points(sweep->get(0)).count(), 34688);
  EXPECT_EQ(open_dataset("points:" + (shared / "indoor-rgb-points").string())->size(), 2);
}

TEST(SyntheticRooms, AreEqualForEqualNumbersAndLabelled) {
  const auto set = open_dataset("synthetic:rooms?count=12&points=300");
  EXPECT_EQ(set->modality(), "points");
  EXPECT_EQ(set->classes().size(), 6U);
  const auto room = decode_points(set->get(3)), again = decode_points(set->get(3));
  EXPECT_EQ(room.values, again.values);
  EXPECT_NE(room.values, decode_points(set->get(4)).values);
  EXPECT_EQ(std::count(room.labels.begin(), room.labels.end(), 2 + set->label(3)), 100);
}

}  // namespace
}  // namespace lacuna::data
