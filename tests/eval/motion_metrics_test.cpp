#include "lacuna/eval/motion_metrics.h"

#include <gtest/gtest.h>

#include "lacuna/core/torch.h"

#include <cmath>

namespace lacuna::eval {
namespace {

// Two windows of one value: an observed frame, then two to predict.
TEST(MotionMetrics, OnASmallExample) {
  const auto windows = torch::tensor({0.F, 1.F, 2.F, 0.1F, -1.F, -2.F}).view({2, 3, 1});
  const auto predicted = torch::tensor({1.F, 2.F, 0.F, 0.F, 4.F, 6.F, -1.F, -1.F}).view({2, 2, 2, 1});
  const auto apart = motion_metrics(windows, predicted, 0.05);
  const auto value = [](const at::Tensor& tensor, int64_t i) { return tensor[i].item<double>(); };
  EXPECT_FLOAT_EQ(value(apart.apd, 0), 5.0);  // (1, 2) to (4, 6)
  EXPECT_FLOAT_EQ(value(apart.apd, 1), std::sqrt(2.0));
  EXPECT_FLOAT_EQ(value(apart.ade, 0), 0.0);
  EXPECT_FLOAT_EQ(value(apart.fde, 0), 0.0);
  EXPECT_FLOAT_EQ(value(apart.ade, 1), 0.5);  // (-1, -1) to (-1, -2)
  EXPECT_FLOAT_EQ(value(apart.fde, 1), 1.0);
  EXPECT_TRUE(apart.mmade.equal(apart.ade));
  EXPECT_EQ(value(apart.num_mult, 0), 1);

  const auto alike = motion_metrics(windows, predicted, 0.2);
  EXPECT_EQ(value(alike.num_mult, 0), 2);
  EXPECT_FLOAT_EQ(value(alike.mmade, 0), (0.0 + 3.0) / 2);  // (1, 2) to (-1, -2): 2 and 4
  EXPECT_FLOAT_EQ(value(alike.mmfde, 0), (0.0 + 4.0) / 2);
  EXPECT_FLOAT_EQ(value(alike.mmade, 1), (1.5 + 0.5) / 2);
  EXPECT_FLOAT_EQ(value(alike.mmfde, 1), (2.0 + 1.0) / 2);
}

TEST(MotionMetrics, OneFutureHasNoSpread) {
  const auto found = motion_metrics(torch::rand({3, 5, 6}), torch::rand({1, 3, 2, 6}), 0.5);
  EXPECT_TRUE(found.apd.equal(torch::zeros({3})));
}

}  // namespace
}  // namespace lacuna::eval
