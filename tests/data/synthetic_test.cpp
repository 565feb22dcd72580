#include "lacuna/data/synthetic.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "lacuna/data/dataset.h"
#include "lacuna/data/inspect.h"
#include "lacuna/data/known_figures.h"
#include "lacuna/data/subset.h"

namespace lacuna::data {
namespace {

std::shared_ptr<Dataset> open(const std::string& name, std::map<std::string, std::string> query = {}) {
  Uri uri{"synthetic", name, std::move(query), "synthetic:" + name};
  auto dataset = Registry<DatasetScheme>::instance().get("synthetic").open(uri);
  EXPECT_TRUE(uri.query.empty());
  return dataset;
}

at::Tensor pixels(const Dataset& dataset, int64_t index) {
  return std::get<io::Image>(dataset.get(index).content).pixels;
}

std::vector<int64_t> label_counts(const Dataset& dataset) {
  std::vector<int64_t> counts(dataset.classes().size());
  for (int64_t i = 0; i < dataset.size(); ++i) ++counts[static_cast<size_t>(dataset.label(i))];
  return counts;
}

double mean_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kFloat) - b.to(at::kFloat)).abs().mean().item<double>();
}

TEST(Synthetic, SceneIsAFunctionOfSeedSplitAndIndex) {
  const auto set = open("scenes"), again = open("scenes"), other = open("scenes", {{"seed", "1"}});
  const auto test = open("scenes", {{"split", "test"}});
  EXPECT_TRUE(at::equal(pixels(*set, 7), pixels(*again, 7)));
  EXPECT_GT(mean_difference(pixels(*set, 7), pixels(*set, 8)), 5);
  EXPECT_GT(mean_difference(pixels(*set, 7), pixels(*other, 7)), 5);
  EXPECT_GT(mean_difference(pixels(*set, 7), pixels(*test, 7)), 5);
}

TEST(Synthetic, SplitsShareNoScene) {
  const auto train = open("scenes", {{"size", "16"}, {"count", "500"}});
  const auto test = open("scenes", {{"size", "16"}, {"count", "500"}, {"split", "test"}});
  std::set<std::string> seen;
  for (int64_t i = 0; i < 500; ++i) {
    for (const auto& set : {train, test}) {
      const auto picture = pixels(*set, i);
      seen.emplace(reinterpret_cast<const char*>(picture.const_data_ptr<uint8_t>()), picture.numel());
    }
  }
  EXPECT_EQ(seen.size(), 1000);
}

// Means over a 2x2 grid of the first scene; they change when the drawing or its random numbers do.
TEST(Synthetic, FirstSceneIsPinned) {
  const auto picture = pixels(*open("scenes"), 0).to(at::kDouble);
  const auto grid = picture.view({2, 48, 2, 48, 3}).mean(at::IntArrayRef{1, 3}).flatten().contiguous();
  const std::vector<double> expected{206.96, 192.62, 162.17, 191.62, 175.26, 155.97,
                                     190.67, 176.30, 151.79, 141.98, 143.21, 148.60};
  for (int64_t i = 0; i < grid.numel(); ++i) EXPECT_NEAR(grid[i].item<double>(), expected[i], 0.05) << i;
}

TEST(Synthetic, ThreadsDrawTheSameScene) {
  const auto set = open("scenes");
  std::vector<at::Tensor> drawn(2);
  std::vector<std::thread> threads;
  for (auto& result : drawn)
    threads.emplace_back([&set, &result] {
      for (int64_t i = 0; i < 20; ++i) result = pixels(*set, i);
    });
  for (auto& thread : threads) thread.join();
  EXPECT_TRUE(at::equal(drawn[0], drawn[1]));
  EXPECT_TRUE(at::equal(drawn[0], pixels(*set, 19)));
}

TEST(Synthetic, LabelsAreBalancedAndMatchTheRecords) {
  const auto set = open("scenes", {{"count", "200"}, {"size", "16"}});
  EXPECT_EQ(label_counts(*set), std::vector<int64_t>(10, 20));
  EXPECT_EQ(label_counts(*open("scenes", {{"count", "30"}, {"classes", "3"}})), std::vector<int64_t>(3, 10));
  for (int64_t i = 0; i < 20; ++i) EXPECT_EQ(set->get(i).label, set->label(i));
  EXPECT_EQ(set->classes().front(), "disc");
  EXPECT_EQ(set->classes().back(), "arrow");
}

TEST(Synthetic, KnownFiguresAreThoseMeasured) {
  const auto set = open_dataset("synthetic:scenes");
  const auto known = known_normalization(*set, 0);
  ASSERT_TRUE(known);
  const auto measured = inspect_dataset(*set, 2048).normalization();
  for (size_t c = 0; c < 3; ++c) {
    EXPECT_NEAR(known->mean[c], measured.mean[c], 1e-12);
    EXPECT_NEAR(known->std[c], measured.std[c], 1e-12);
  }
  EXPECT_TRUE(known_normalization(*set, 3));
  EXPECT_FALSE(known_normalization(*set, 1));
  EXPECT_FALSE(known_normalization(*open_dataset("synthetic:scenes?size=64"), 0));
  EXPECT_FALSE(known_normalization(*subset(set, {0, 1}), 0));
}

TEST(Synthetic, SizesAreHeightByWidth) {
  EXPECT_EQ(pixels(*open("scenes"), 0).sizes(), (std::vector<int64_t>{96, 96, 3}));
  EXPECT_EQ(pixels(*open("scenes", {{"size", "64x128"}}), 0).sizes(), (std::vector<int64_t>{64, 128, 3}));
  EXPECT_EQ(pixels(*open("bands", {{"size", "128x40"}, {"channels", "7"}}), 0).sizes(),
            (std::vector<int64_t>{128, 40, 7}));
  EXPECT_EQ(pixels(*open("scenes"), 0).scalar_type(), at::kByte);
}

TEST(Synthetic, SceneIsTheSameAtAnySize) {
  const auto small = pixels(*open("scenes", {{"size", "64"}}), 3).to(at::kFloat);
  const auto large = pixels(*open("scenes", {{"size", "128"}}), 3).to(at::kFloat);
  EXPECT_LT(mean_difference(small, large.view({64, 2, 64, 2, 3}).mean(at::IntArrayRef{1, 3})), 4);
}

TEST(Synthetic, BandsOfOnePictureAreRelatedButNotEqual) {
  const auto set = open("bands", {{"count", "40"}, {"size", "48"}});
  EXPECT_EQ(label_counts(*set), std::vector<int64_t>(4, 10));
  for (int64_t i = 0; i < 8; ++i) {
    const auto picture = pixels(*set, i).to(at::kFloat).view({-1, 5});
    EXPECT_GT(picture.std(0).min().item<float>(), 3);
    EXPECT_GT(mean_difference(picture.select(1, 0), picture.select(1, 4)), 1);
  }
}

TEST(Synthetic, BadQueriesAreErrors) {
  EXPECT_THROW(open("scene"), Error);
  EXPECT_THROW(open("scenes", {{"size", "large"}}), Error);
  EXPECT_THROW(open("scenes", {{"size", "4"}}), Error);
  EXPECT_THROW(open("scenes", {{"count", "0"}}), Error);
  EXPECT_THROW(open("scenes", {{"count", "many"}}), Error);
  EXPECT_THROW(open("scenes", {{"split", "val"}}), Error);
  EXPECT_THROW(open("scenes", {{"classes", "11"}}), Error);
  EXPECT_THROW(open("scenes", {{"seed", "-1"}}), Error);
  EXPECT_THROW(open("bands", {{"channels", "0"}}), Error);
  try {
    open("scene");
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("did you mean 'scenes'?"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace lacuna::data
