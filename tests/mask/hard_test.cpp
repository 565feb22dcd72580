#include "lacuna/mask/hard.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

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

}  // namespace
}  // namespace lacuna::mask
