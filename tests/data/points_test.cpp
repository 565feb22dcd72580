#include "lacuna/data/points.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <numeric>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/boxes.h"
#include "lacuna/data/point_classes.h"
#include "lacuna/data/synthetic_terrain.h"
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

TEST(SyntheticTerrain, NormalsAreThoseOfTheHeights) {
  Stream random(3, "terrain");
  const Terrain terrain(random);
  for (const auto& [x, y] : {std::pair(0.3, -1.2), std::pair(-3.5, 2.0)}) {
    const auto normal = terrain.normal(x, y);
    constexpr double kStep = 1e-5;
    const double slope_x = (terrain.height(x + kStep, y) - terrain.height(x - kStep, y)) / (2 * kStep);
    const double slope_y = (terrain.height(x, y + kStep) - terrain.height(x, y - kStep)) / (2 * kStep);
    EXPECT_NEAR(normal[0] / normal[2], -slope_x, 1e-6);
    EXPECT_NEAR(normal[1] / normal[2], -slope_y, 1e-6);
    EXPECT_NEAR(std::hypot(normal[0], normal[1], normal[2]), 1, 1e-12);
  }
  const auto cloud = decode_points(open_dataset("synthetic:terrain?count=2&points=500")->get(1));
  ASSERT_EQ(cloud.count(), 500);
  Stream same(0, "terrain/train", 1);
  const Terrain drawn(same);
  for (size_t i = 0; i < cloud.values.size(); i += 3)
    EXPECT_NEAR(cloud.values[i + 2], drawn.height(cloud.values[i], cloud.values[i + 1]), 0.05);
}

TEST(Boxes, HoldWhatLiesInThem) {
  // 4 m long, turned to the left by 90 degrees: along y.
  const auto box = upright_box({1, 2, 0}, {4, 2, 1}, std::acos(0.0), 5);
  io::Points points;
  points.values = {1, 3.9F, 0.4F, 2.5F, 2, 0, 1, 3.9F, 0.6F, NAN, 2, 0, 1.9F, 0.1F, -0.4F};
  EXPECT_THAT(labels_by_boxes(points, {box}, 0), ElementsAre(5, 0, 0, 0, 5));
  EXPECT_THAT(points_in_boxes(points, {box, upright_box({2.5, 2, 0}, {1, 1, 1}, 0, 1)}), ElementsAre(2, 1));
}

constexpr const char* kCalibration =
    "P2: 100 0 50 0 0 100 50 0 0 0 1 0\nR0_rect: 1 0 0 0 1 0 0 0 1\n"
    "Tr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 0\n";  // x ahead, y left, z up -> right, down, ahead

void write_kitti(const io::fs::path& folder, const std::string& objects) {
  for (const char* part : {"velodyne", "label_2", "calib"}) io::fs::create_directories(folder / part);
  // In the car, beside it, in nobody's rectangle, out of the picture, behind the camera.
  testing::write_file(folder / "velodyne/7.bin",
                      rows({10, 0, 0, 1, 10, 3, 0, 1, 20, -8, 0, 1, 4, 7, 0, 1, -10, 0, 0, 1}));
  testing::write_file(folder / "label_2/7.txt", objects);
  testing::write_file(folder / "calib/7.txt", kCalibration);
}

TEST(LabelledSweeps, KittisBoxesLabelWhatItsCameraSaw) {
  const testing::TemporaryFolder folder;
  const auto uri = "points:" + folder.path().string();
  // The car stands 10 m ahead, its bottom 1 m below the camera, 2 m high, 1 m wide, 4 m long.
  write_kitti(
      folder / "training",
      "Car 0 0 0 0 0 9 9 2 1 4 0 1 10 1.57\nDontCare -1 -1 -10 89 40 95 60 -1 -1 -1 -1000 -1000 -1000 -10\n");
  const auto set = open_dataset(uri);
  EXPECT_EQ(set->uri(), uri + "?split=train");
  EXPECT_THAT(decode_points(set->get(0)).labels, ElementsAre(1, 0, -1, -1, -1));
  EXPECT_EQ(point_classes(*subset(set, {0})).at(1), "Car");
  EXPECT_EQ(point_classes(*set).size(), 9U);
  testing::write_file(folder / "training/label_2/7.txt", "Car 0 0 0\n");
  EXPECT_THAT(refusal([&] { set->get(0); }), HasSubstr("line 1 is no object"));
  testing::write_file(folder / "training/calib/7.txt", "P2: 1 2\n");
  EXPECT_THAT(refusal([&] { set->get(0); }), HasSubstr("'P2:' with 12 numbers"));
  io::fs::remove(folder / "training/label_2/7.txt");
  EXPECT_TRUE(decode_points(set->get(0)).labels.empty());
}

// The numbers of points were counted with NumPy, by the corners of the devkit.
TEST(LabelledSweeps, RealBoxesHoldTheirPoints) {
  LACUNA_NEEDS_SHARED("data/kitti");
  const auto shared = testing::shared_folder() / "data";
  const testing::TemporaryFolder folder;
  const auto archive = (shared / "kitti/object-frames.tar.gz").string();
  ASSERT_EQ(std::system(("tar xzf " + archive + " -C " + folder.path().string()).c_str()), 0);
  const auto kitti = open_dataset("points:" + folder.path().string());
  ASSERT_EQ(kitti->size(), 3);
  const auto counts = [](const std::vector<int32_t>& labels) {
    std::map<int32_t, int64_t> out;
    for (const auto label : labels) ++out[label];
    return out;
  };
  using Counts = std::map<int32_t, int64_t>;
  const auto first = counts(decode_points(kitti->get(0)).labels),
             last = counts(decode_points(kitti->get(2)).labels);
  EXPECT_EQ(first, (Counts{{-1, 95162}, {0, 19846}, {4, 376}}));  // a pedestrian
  EXPECT_EQ(last, (Counts{{-1, 106743}, {0, 126891 - 106743 - 1351 - 67}, {1, 67}, {8, 1351}}));

  // nuScenes' own count is of the boxes before they were rounded: some at the borders differ.
  const auto list = open_dataset("points:" + (shared / "nuscenes-sample").string());
  EXPECT_EQ(point_classes(*list).size(), 11U);
  const auto sweep = decode_points(list->get(0));
  const auto document = Json::parse(io::read_file(shared / "nuscenes-sample/sample.json"));
  std::vector<Box> boxes;
  std::vector<int64_t> told;
  for (const auto& object : document["data_list"][0]["instances"]) {
    const auto b = object["bbox_3d"].get<std::vector<double>>();
    boxes.push_back(upright_box({b[0], b[1], b[2]}, {b[3], b[4], b[5]}, b[6], 1));
    told.push_back(object["num_lidar_pts"].get<int64_t>());
  }
  const auto held = points_in_boxes(sweep, boxes);
  int64_t equal = 0;
  for (size_t i = 0; i < held.size(); ++i) equal += held[i] == told[i] ? 1 : 0;
  EXPECT_EQ(held.size(), 69U);
  EXPECT_EQ(equal, 61);
  EXPECT_EQ(std::accumulate(held.begin(), held.end(), int64_t{0}), 994);
  EXPECT_EQ(std::accumulate(told.begin(), told.end(), int64_t{0}), 1009);
  EXPECT_GT(std::count_if(sweep.labels.begin(), sweep.labels.end(), [](int32_t l) { return l > 0; }), 900);
}

TEST(LabelledSweeps, BrokenListsAreNamed) {
  const testing::TemporaryFolder folder;
  const auto list = folder / "sample.json";
  const auto open = [&](const std::string& text) {
    testing::write_file(list, text);
    return refusal([&] { open_dataset("points:" + folder.path().string())->get(0); });
  };
  EXPECT_THAT(open("{"), HasSubstr("is no list of frames"));
  EXPECT_THAT(open(R"({"metainfo": {"categories": {"car": 1}}, "data_list": []})"),
              HasSubstr("leave out number 0"));
  EXPECT_THAT(open(R"({"metainfo": {"categories": {}}, "data_list": []})"), HasSubstr("lists no frame"));
  EXPECT_THAT(open(R"({"metainfo": {"categories": {}}, "data_list": [{"lidar_points": {"lidar_path": "a.bin",
                   "num_pts_feats": 4}, "instances": [{"bbox_3d": [0, 0, 0, 1, 1, 1, 0], "bbox_label_3d": 3}]}]})"),
              HasSubstr("has the class 3"));
}

}  // namespace
}  // namespace lacuna::data
