#include "lacuna/train/picture.h"

#include <gtest/gtest.h>

#include <limits>

#include "lacuna/core/torch.h"
#include "lacuna/train/caption.h"

namespace lacuna::train {
namespace {

// Layout: columns start at 12 and are as wide as the picture, at least 106 for the widest title; gaps of 12.
constexpr int64_t kGap = 12, kTitle = 18, kNote = 9;

/// Two pictures of one value each, 32x64 in patches of 16x16; the left half hidden, the prediction another
/// value.
Preview flat(int64_t channels, float value, float predicted) {
  Preview preview;
  preview.image = at::full({2, channels, 32, 64}, value);
  preview.predicted = at::full({2, channels, 32, 64}, predicted);
  preview.hidden = (at::arange(4) < 2).view({1, 1, 4}).expand({2, 2, 4});
  return preview;
}

data::Normalization plain(int64_t channels) {
  return {std::vector<double>(channels, 0.5), std::vector<double>(channels, 0.25)};
}

std::vector<int64_t> pixel(const Tensor& panel, int64_t y, int64_t x) {
  const Tensor values = panel[y][x].to(at::kLong).contiguous();
  return {values.data_ptr<int64_t>(), values.data_ptr<int64_t>() + 3};
}

using Pixel = std::vector<int64_t>;

TEST(PreviewPanel, ShowsFourColumnsInTheUnitsOfTheData) {
  const Tensor panel = preview_panel(flat(3, 1, -1), plain(3));  // 0.75 and 0.25
  EXPECT_EQ(panel.scalar_type(), at::kByte);
  // Enlarged by 2 to 64x128.
  EXPECT_EQ(panel.sizes(),
            (std::vector<int64_t>{kGap + kTitle + 2 * (64 + kGap), kGap + 4 * (128 + kGap), 3}));
  for (const int64_t row : {0, 1}) {
    const int64_t y = kGap + kTitle + row * (64 + kGap) + 32;
    const auto at_column = [&](int64_t column, int64_t x) {
      return pixel(panel, y, kGap + column * (128 + kGap) + x);
    };
    const Pixel original{191, 191, 191}, hidden{204, 204, 204}, predicted{64, 64, 64};
    EXPECT_EQ(at_column(0, 0), original);
    EXPECT_EQ(at_column(1, 63), hidden);
    EXPECT_EQ(at_column(1, 64), original);
    EXPECT_EQ(at_column(2, 127), predicted);
    EXPECT_EQ(at_column(3, 63), predicted);
    EXPECT_EQ(at_column(3, 64), original);
  }
  EXPECT_EQ(pixel(panel, 0, 0), (Pixel{250, 250, 250}));
}

TEST(PreviewPanel, EnlargesByRepeatingPixels) {
  Preview preview;
  preview.image = at::arange(64, at::kFloat).view({1, 1, 8, 8}) / 63;
  const Tensor panel = preview_panel(preview, {{0}, {1}});
  EXPECT_EQ(panel.sizes(), (std::vector<int64_t>{kGap + kTitle + 128 + kGap, kGap + 128 + kGap, 3}));
  const Tensor cell = panel.slice(0, kGap + kTitle, kGap + kTitle + 128).slice(1, kGap, kGap + 128);
  const Tensor expected = (preview.image[0][0] * 255).round().to(at::kByte);
  EXPECT_TRUE(at::equal(cell.select(2, 0).slice(0, 0, 128, 16).slice(1, 15, 128, 16), expected));
  EXPECT_TRUE(at::equal(cell.select(2, 2), cell.select(2, 0)));
}

TEST(PreviewPanel, LeavesColumnsOutThatAMethodDoesNotHave) {
  Preview preview = flat(3, 1, -1);
  const int64_t width = 128 + kGap;
  preview.predicted = Tensor();
  EXPECT_EQ(preview_panel(preview, plain(3)).size(1), kGap + 2 * width);
  preview = flat(3, 1, -1);
  preview.hidden = Tensor();
  EXPECT_EQ(preview_panel(preview, plain(3)).size(1), kGap + 2 * width);
}

TEST(PreviewPanel, SaysWhichChannelsAreShown) {
  Preview preview = flat(5, 0, 0);
  for (int64_t c = 0; c < 5; ++c) preview.image.select(1, c).fill_(static_cast<float>(c) / 4);
  const Tensor panel = preview_panel(preview, {std::vector<double>(5, 0), std::vector<double>(5, 1)});
  EXPECT_EQ(panel.size(0), kGap + kTitle + kNote + 2 * (64 + kGap));
  EXPECT_EQ(pixel(panel, kGap + kTitle + kNote + 10, kGap + 10), (Pixel{0, 64, 128}));
  const Tensor note = panel.slice(0, kGap + kTitle - 2, kGap + kTitle - 2 + kNote).slice(1, kGap, kGap + 128);
  EXPECT_GT((note < 200).sum().item<int64_t>(), 100);
  EXPECT_EQ(preview_panel(flat(2, 1, 0), plain(2)).size(0), panel.size(0));
  EXPECT_EQ(preview_panel(flat(1, 1, 0), plain(1)).size(0), kGap + kTitle + 2 * (64 + kGap));
}

TEST(PreviewPanel, StretchesWhatWouldBeAllBlackOrAllWhite) {
  for (const double scale : {0.01, 300.0}) {
    Preview preview;
    preview.image = at::tensor({0.f, 1.f, 2.f, 4.f}).view({1, 1, 2, 2});
    const Tensor panel = preview_panel(preview, {{scale}, {scale}});
    const int64_t y = kGap + kTitle;
    EXPECT_EQ(pixel(panel, y, kGap), (Pixel{0, 0, 0})) << scale;
    EXPECT_EQ(pixel(panel, y, kGap + 127), (Pixel{64, 64, 64})) << scale;
    EXPECT_EQ(pixel(panel, y + 127, kGap + 127), (Pixel{255, 255, 255})) << scale;
  }
}

TEST(PreviewPanel, DrawsANumberForEachPatchAsColours) {
  Preview preview = flat(3, 1, 0);
  preview.heat = at::tensor({-3.f, 5.f}).view({1, 1, 2}).expand({2, 1, 2});
  preview.heat_title = "heat";
  preview.hidden_note = "1 of 2";
  const Tensor panel = preview_panel(preview, plain(3));
  EXPECT_EQ(panel.size(0), kGap + kTitle + kNote + 2 * (64 + kGap));
  const int64_t y = kGap + kTitle + kNote + 5, x = kGap + 4 * (128 + kGap);
  const auto low = pixel(panel, y, x), high = pixel(panel, y, x + 127);
  EXPECT_LT(low[0] + 100, low[2]);    // blue
  EXPECT_GT(high[0], high[2] + 100);  // red
  EXPECT_EQ(low[0], high[2]);
}

TEST(PreviewPanel, DrawsAPredictionThatIsNotFinite) {
  Preview preview = flat(3, 1, std::numeric_limits<float>::quiet_NaN());
  const Tensor panel = preview_panel(preview, plain(3));
  EXPECT_EQ(pixel(panel, kGap + kTitle + 5, kGap + 2 * (128 + kGap) + 5), (Pixel{0, 0, 0}));
}

TEST(PreviewPanel, KeepsTitlesApartOverNarrowPictures) {
  Preview preview;
  preview.image = at::zeros({1, 1, 128, 8});
  preview.hidden = at::zeros({1, 8, 1}, at::kBool);
  EXPECT_EQ(preview_panel(preview, plain(1)).size(1), kGap + 2 * (text_width("original", 2) + kGap));
}

TEST(Caption, DrawsLettersRowByRow) {
  Tensor canvas = at::full({9, 11, 3}, 250, at::kByte);
  EXPECT_EQ(text_width("t-", 1), 11);
  draw_text(canvas, "t-", 0, 0, 1, 0);
  const char* wanted[] = {".#.........", ".#.........", "####.......", ".#....#####", ".#.........",
                          ".#.........", "..##.......", "...........", "..........."};
  for (int64_t y = 0; y < 9; ++y)
    for (int64_t x = 0; x < 11; ++x)
      EXPECT_EQ(canvas[y][x][0].item<int>() == 0, wanted[y][x] == '#') << y << ' ' << x;
}

}  // namespace
}  // namespace lacuna::train
