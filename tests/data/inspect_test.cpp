#include "lacuna/data/inspect.h"

#include <gtest/gtest.h>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "tests/support/pictures.h"
#include "tests/support/shared.h"

namespace lacuna::data {
namespace {

using testing::noise;
using testing::TemporaryFolder;
using testing::write_file;

TEST(Inspect, FiguresAreThoseOfThePixels) {
  const TemporaryFolder folder;
  std::vector<at::Tensor> rows;
  for (int i = 0; i < 7; ++i) {
    const auto pixels = noise(4 + i, 9 - i, 3, static_cast<uint64_t>(i));
    write_file(folder / str("class/", i, ".png"), io::encode_png(pixels));
    rows.push_back(pixels.reshape({-1, 3}).to(at::kDouble) / 255);
  }
  const auto all = at::cat(rows);
  const auto report = inspect_dataset(*open_dataset(folder.path().string()));
  for (int64_t c = 0; c < 3; ++c) {
    EXPECT_NEAR(report.mean[static_cast<size_t>(c)], all.select(1, c).mean().item<double>(), 1e-12);
    EXPECT_NEAR(report.std[static_cast<size_t>(c)], all.select(1, c).std(false).item<double>(), 1e-12);
    EXPECT_EQ(report.low[static_cast<size_t>(c)], all.select(1, c).min().item<double>());
    EXPECT_EQ(report.high[static_cast<size_t>(c)], all.select(1, c).max().item<double>());
  }
  EXPECT_EQ(report.min_height, 4);
  EXPECT_EQ(report.max_height, 10);
  EXPECT_EQ(report.median_width, 6);
  EXPECT_EQ(report.class_count, std::vector<int64_t>{7});
  EXPECT_EQ(report.formats, (std::map<std::string, int64_t>{{"png 8 bit", 7}}));
  const auto threaded = inspect_dataset(*open_dataset(folder.path().string()), 0, 0, 3);
  EXPECT_EQ(report.to_json(), threaded.to_json());
  EXPECT_EQ(inspect_dataset(*open_dataset(folder.path().string()), 3).read, 3);
}

TEST(Inspect, MixedChannelsAndBrokenFiles) {
  const TemporaryFolder folder;
  write_file(folder / "1.png", testing::png(3, 3, 4));
  write_file(folder / "2.png", testing::png(3, 3, 3));
  write_file(folder / "3.png", testing::png(3, 3, 1));
  write_file(folder / "4.png", testing::png(3, 3, 3).substr(0, 40));
  write_file(folder / "5.jpg", "no picture");
  const auto report = inspect_dataset(*open_dataset(folder.path().string()));
  EXPECT_EQ(report.main_channels, 3);
  EXPECT_EQ(report.mean.size(), 3U);
  EXPECT_EQ(report.read, 3);
  EXPECT_EQ(report.broken_count, 2);
  ASSERT_EQ(report.broken.size(), 2U);
  EXPECT_TRUE(report.broken[0].starts_with((folder / "4.png").string() + ": ")) << report.broken[0];
  EXPECT_TRUE(report.broken[1].starts_with((folder / "5.jpg").string() + ": ")) << report.broken[1];
  EXPECT_NE(report.to_text().find("broken     2"), std::string::npos) << report.to_text();
  EXPECT_EQ(inspect_dataset(*open_dataset(folder.path().string()), 0, 1).mean.size(), 1U);
}

TEST(Inspect, SharedFashionMnist) {
  LACUNA_NEEDS_SHARED("data/fashion-mnist");
  const auto report = inspect_dataset(
      *open_dataset((testing::shared_folder() / "data/fashion-mnist").string(), "test"), 2000);
  EXPECT_EQ(report.count, 10000);
  EXPECT_EQ(report.read, 2000);
  EXPECT_EQ(report.main_channels, 1);
  EXPECT_NEAR(report.mean[0], 0.286, 0.005);  // the figures that everyone quotes for Fashion-MNIST
  EXPECT_NEAR(report.std[0], 0.353, 0.005);
}

}  // namespace
}  // namespace lacuna::data
