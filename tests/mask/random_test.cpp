#include "lacuna/mask/random.h"

#include <gtest/gtest.h>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna::mask {
namespace {

TEST(RandomMask, OrderFollowsTheNoise) {
  RecordedDraws draws({{"noise", torch::tensor({{0.9F, 0.1F, 0.5F, 0.3F}})}});
  const auto shuffle = random_shuffle({.ratio = 0.5}, 1, 4, torch::kCPU, draws);
  EXPECT_TRUE(shuffle.order.equal(torch::tensor({{1, 3, 2, 0}}, torch::kLong)));
  EXPECT_TRUE(shuffle.kept().equal(torch::tensor({{1, 3}}, torch::kLong)));
  EXPECT_TRUE(shuffle.hidden().equal(torch::tensor({{2, 0}}, torch::kLong)));
  EXPECT_TRUE(shuffle.restore().equal(torch::tensor({{3, 0, 2, 1}}, torch::kLong)));
  EXPECT_TRUE(shuffle.is_hidden().equal(torch::tensor({{true, false, true, false}})));
}

TEST(RandomMask, CountTruncatesTheDoubleProduct) {
  EXPECT_EQ(kept_patches(196, 0.75), 49);
  EXPECT_EQ(kept_patches(10, 0.9), 0);  // 10 * (1 - 0.9) = 0.9999999999999998
  EXPECT_EQ(kept_patches(64, 0.6), 25);
}

TEST(RandomMask, EveryPatchIsHiddenEquallyOften) {
  SeededDraws draws(1);
  const auto share =
      random_shuffle({.ratio = 0.75}, 4000, 16, torch::kCPU, draws).is_hidden().to(torch::kFloat).mean(0);
  EXPECT_NEAR(share.min().item<double>(), 0.75, 0.03);
  EXPECT_NEAR(share.max().item<double>(), 0.75, 0.03);
}

TEST(RandomMask, SamplesKeepTheirMaskInAnyBatch) {
  SeededDraws whole(9, 0, {4, 5, 6, 7}), half(9, 0, {6, 7});
  const auto all = random_shuffle({}, 4, 16, torch::kCPU, whole).order;
  EXPECT_TRUE(all.slice(0, 2).equal(random_shuffle({}, 2, 16, torch::kCPU, half).order));
}

TEST(RandomMask, RatioMustLeaveBothSides) {
  EXPECT_THROW(check_ratio(4, 0.9), Error);
  EXPECT_THROW(check_ratio(4, 0.0), Error);
  EXPECT_NO_THROW(check_ratio(4, 0.75));
}

}  // namespace
}  // namespace lacuna::mask
