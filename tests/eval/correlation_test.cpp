#include "lacuna/eval/correlation.h"

#include <gtest/gtest.h>

namespace lacuna::eval {
namespace {

TEST(Pearson, KnownNumbers) {
  EXPECT_NEAR(pearson({1, 2, 3, 4}, {2, 4, 6, 8}), 1, 1e-12);
  EXPECT_NEAR(pearson({1, 2, 3, 4}, {8, 6, 4, 2}), -1, 1e-12);
  // scipy.stats.pearsonr([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]) = 0.8
  EXPECT_NEAR(pearson({1, 2, 3, 4, 5}, {2, 1, 4, 3, 5}), 0.8, 1e-12);
  EXPECT_EQ(pearson({1, 1, 1}, {1, 2, 3}), 0);
}

}  // namespace
}  // namespace lacuna::eval
