#include "lacuna/train/advice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lacuna/core/error.h"

namespace lacuna::train {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(Plan, RateScalesWithTheEffectiveBatch) {
  RunConfig config("mae");
  config.train.batch_size = 64;
  config.train.accum = 4;
  const auto plan = make_plan(config, 64000, 1000, /*world=*/2);
  EXPECT_EQ(plan.effective_batch, 512);
  EXPECT_DOUBLE_EQ(plan.lr, 1.5e-4 * 2);
  EXPECT_EQ(plan.steps_per_epoch, 250);
  EXPECT_EQ(plan.steps, 100000);  // 400 epochs, the method's default
  EXPECT_EQ(plan.warmup_epochs, 40);
}

TEST(Plan, ShortRunsGetATenthOfWarmUpUnlessTold) {
  RunConfig config("mae");
  config.train.steps = 500;
  EXPECT_DOUBLE_EQ(make_plan(config, 6400, 100, 1).warmup_epochs, 0.5);
  config.table.set("train.warmup_epochs", 2, "test");
  EXPECT_DOUBLE_EQ(make_plan(config, 6400, 100, 1).warmup_epochs, 2);
}

TEST(Plan, LessThanOneBatchIsRefused) {
  RunConfig config("mae");
  EXPECT_THROW(make_plan(config, 10, 0, 1), Error);
}

TEST(Warnings, SmallBatchHighRateAndFewSteps) {
  RunConfig config("mae");
  config.train.batch_size = 8;
  config.table.set("train.steps", 50, "test");
  config.train.lr = 1;
  const auto lines = warnings(config, make_plan(config, 800, 100, 1));
  EXPECT_THAT(lines, Contains(HasSubstr("effective batch 8 is small")));
  EXPECT_THAT(lines, Contains(HasSubstr("lower train.lr")));
  EXPECT_THAT(lines, Contains(HasSubstr("50 steps are few")));
}

TEST(Warnings, ThePapersSettingsAreFine) {
  RunConfig config("mae");
  config.train.accum = 64;
  EXPECT_THAT(warnings(config, make_plan(config, 1281167, 20018, 1)), IsEmpty());
}

TEST(Warnings, AFewShotRunAtItsPapersSettingsIsFine) {
  RunConfig config("r-amt");  // its own rate; 30 epochs of 160 pictures
  EXPECT_THAT(warnings(config, make_plan(config, 160, 5, 1)), IsEmpty());
}

TEST(Warnings, AccumulationIsNoRemedyForALossOverPairs) {
  RunConfig config("clip");
  config.train.batch_size = 8;
  const auto lines = warnings(config, make_plan(config, 800, 100, 1));
  EXPECT_THAT(lines, Contains(HasSubstr("is small")));
  EXPECT_THAT(lines, ::testing::Not(Contains(HasSubstr("train.accum"))));
}

}  // namespace
}  // namespace lacuna::train
