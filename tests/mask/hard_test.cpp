#include "lacuna/mask/hard.h"

#include <gtest/gtest.h>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna::mask {
namespace {

TEST(HardMask, CountRisesToHalfOfTheMask) {
  const HardConfig config;
  EXPECT_EQ(hard_count(config, 147, 0, 200), 0);
  EXPECT_EQ(hard_count(config, 147, 99, 200), 36);   // 147 / 4
  EXPECT_EQ(hard_count(config, 147, 199, 200), 73);  // 147 / 2
  EXPECT_EQ(hard_count(config, 147, 200, 200), 73);  // behind the last step
  HardConfig always = config;
  always.hard_start = always.hard_end = 1;
  EXPECT_EQ(hard_count(always, 147, 0, 200), 147);
  HardConfig never = config;
  never.guide = false;
  EXPECT_EQ(hard_count(never, 147, 199, 200), 0);
}

TEST(HardMask, HidesTheHardestAndFillsUpAtRandom) {
  const HardConfig config{.ratio = 0.5};
  const auto loss = torch::tensor({{0.1, 0.9, 0.2, 0.8, 0.3, 0.4}});
  // Of the others, 0 2 4 5, the permutation makes 5 0 4 2: the first three stay.
  RecordedDraws draws({{"perm", torch::tensor({{3, 0, 2, 1}})}});
  const auto shuffle = hard_shuffle(config, loss, 2, draws);
  EXPECT_EQ(shuffle.kept_count, 3);
  EXPECT_TRUE(shuffle.kept().equal(torch::tensor({{0, 4, 5}})));
  EXPECT_TRUE(shuffle.hidden().equal(torch::tensor({{1, 2, 3}})));
}

TEST(HardMask, EqualLossesAreHiddenFromTheEnd) {
  RecordedDraws draws({{"perm", torch::tensor({{0, 1, 2}})}});
  const auto shuffle = hard_shuffle({.ratio = 0.75}, torch::zeros({1, 4}), 1, draws);
  EXPECT_TRUE(shuffle.kept().equal(torch::tensor({{0}})));
}

TEST(HardMask, EasyIsByNoise) {
  RecordedDraws draws({{"noise", torch::tensor({{0.5F, -2.F, 3.F, -1.F}})}});
  const auto shuffle = easy_shuffle({.ratio = 0.5}, 1, 4, torch::kCPU, draws);
  EXPECT_TRUE(shuffle.kept().equal(torch::tensor({{1, 3}})));
  EXPECT_TRUE(shuffle.hidden().equal(torch::tensor({{0, 2}})));
}

TEST(HardMask, SecondaryMaskLeavesItsShare) {
  RecordedDraws draws({{"vis_noise", torch::tensor({{0.3F, 0.1F, 0.9F, 0.2F}})}});  // argsort 1 3 0 2
  const auto blank = blank_visible({.vis_mask_ratio = 0.5}, 1, 4, torch::kCPU, draws);
  EXPECT_TRUE(blank.equal(torch::tensor({{false, true, false, true}})));
}

TEST(HardMask, RegularLeavesOneOfEachTwoByTwo) {
  // 2 x 4 patches: two cells, R = 4 rows; corners 3 and 1.
  RecordedDraws draws({{"regular", torch::tensor({{3, 1, 0, 2}})}});
  const HardConfig config{.type = "regular"};
  check_pattern(config, {2, 4});
  const auto shuffle = pattern_shuffle(config, 1, {2, 4}, torch::kCPU, draws);
  EXPECT_EQ(shuffle.kept_count, 2);
  // Cell 0's lower right corner is patch 5, cell 1's upper right one patch 3.
  EXPECT_TRUE(shuffle.kept().equal(torch::tensor({{3, 5}})));
  EXPECT_TRUE(shuffle.hidden().equal(torch::tensor({{0, 1, 2, 4, 6, 7}})));
}

TEST(HardMask, RegularDealsCornersInEqualNumbers) {
  // 14 x 14: R = 100 rows, 25 of each corner, of which 49 are used.
  SeededDraws draws(3);
  const auto kept = pattern_shuffle({.type = "regular"}, 8, {14, 14}, torch::kCPU, draws).kept();
  ASSERT_EQ(kept.size(1), 49);
  const auto row = kept.div(14, "floor"), column = kept.remainder(14);
  const auto corner = row.remainder(2) * 2 + column.remainder(2);
  const auto cell = row.div(2, "floor") * 7 + column.div(2, "floor");
  for (int64_t b = 0; b < 8; ++b) {
    EXPECT_EQ(std::get<0>(cell[b].sort()).diff().eq(1).sum().item<int64_t>(), 48);  // each cell once
    EXPECT_LE(torch::bincount(corner[b]).max().item<int64_t>(), 25);
  }
}

TEST(HardMask, BlockIsARectangleOfHalfTheSides) {
  RecordedDraws draws({{"block", torch::tensor({{0.99F, 0.5F}})}});
  const auto shuffle = pattern_shuffle({.type = "block"}, 1, {4, 4}, torch::kCPU, draws);
  EXPECT_TRUE(shuffle.kept().equal(torch::tensor({{5, 6, 9, 10}})));  // from row 1, column 1
}

TEST(HardMask, PatternsRefuseOtherRatiosAndOddGrids) {
  EXPECT_THROW(check_pattern({.type = "block", .ratio = 0.6}, {4, 4}), Error);
  EXPECT_THROW(check_pattern({.type = "regular"}, {4, 5}), Error);
}

}  // namespace
}  // namespace lacuna::mask
