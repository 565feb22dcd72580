#include "lacuna/nn/ema.h"

#include <gtest/gtest.h>

#include "lacuna/core/torch.h"

namespace lacuna::nn {
namespace {

TEST(Ema, DecayRampsAndStays) {
  EXPECT_DOUBLE_EQ(ema_ramp(0.999, 0.9999, 0, 100), 0.999);
  EXPECT_NEAR(ema_ramp(0.999, 0.9999, 50, 100), 0.99945, 1e-12);
  EXPECT_DOUBLE_EQ(ema_ramp(0.999, 0.9999, 100, 100), 0.9999);
  EXPECT_DOUBLE_EQ(ema_ramp(0.999, 0.9999, 400, 100), 0.9999);
  EXPECT_DOUBLE_EQ(ema_ramp(0.999, 0.9999, 0, 0), 0.9999);
}

TEST(Ema, DecayAlongACosine) {
  EXPECT_DOUBLE_EQ(ema_cosine(0.996, 1, 0), 0.996);
  EXPECT_NEAR(ema_cosine(0.996, 1, 0.5), 0.998, 1e-12);
  EXPECT_NEAR(ema_cosine(0.996, 1, 0.25), 1 - 0.004 * (1 + std::sqrt(0.5)) / 2, 1e-12);
  EXPECT_DOUBLE_EQ(ema_cosine(0.996, 1, 1), 1);
}

// timm 1.0: ModelEmaV3(model, decay=0.9999, use_warmup=True).get_decay(step) for steps 1, 2, 11, 1001.
TEST(Ema, WarmupIsTimms) {
  EXPECT_NEAR(ema_warmup(0.9999, 1), 0, 1e-12);
  EXPECT_NEAR(ema_warmup(0.9999, 2), 0.3700394750525634, 1e-12);
  EXPECT_NEAR(ema_warmup(0.9999, 11), 0.7978199917664258, 1e-12);
  EXPECT_NEAR(ema_warmup(0.9999, 1001), 0.9900066611160449, 1e-12);
  EXPECT_DOUBLE_EQ(ema_warmup(0.9, 1001), 0.9);
}

TEST(Ema, AveragesWeightsAndBuffersAndCopiesCounters) {
  const NamedTensors source{{"weight", torch::full({3}, 2.0)},
                            {"running_mean", torch::full({2}, -4.0)},
                            {"num_batches_tracked", torch::zeros({}, torch::kLong)}};
  Ema ema(source);
  source.at("weight").fill_(10);
  source.at("running_mean").fill_(4);
  source.at("num_batches_tracked").fill_(7);
  EXPECT_EQ(ema.average().at("weight")[0].item<double>(), 2);  // a copy
  ema.update(0.75);
  EXPECT_TRUE(ema.average().at("weight").equal(torch::full({3}, 4.0)));
  EXPECT_TRUE(ema.average().at("running_mean").equal(torch::full({2}, -2.0)));
  EXPECT_EQ(ema.average().at("num_batches_tracked").item<int64_t>(), 7);
  ema.update(0.75);
  EXPECT_TRUE(ema.average().at("weight").equal(torch::full({3}, 5.5)));
  ema.restart();
  EXPECT_TRUE(ema.average().at("weight").equal(source.at("weight")));
}

TEST(Ema, WhatIsEqualStaysEqualToTheBit) {
  const NamedTensors source{{"table", torch::randn({4, 9})}};
  Ema ema(source);
  for (int i = 0; i < 5; ++i) ema.update(0.9993);
  EXPECT_TRUE(ema.average().at("table").equal(source.at("table")));
}

TEST(Ema, WritesIntoATeachersOwnTensors) {
  const NamedTensors source{{"weight", torch::ones({2})}};
  const auto teacher = torch::zeros({2});
  Ema ema(source, {{"weight", teacher}});
  EXPECT_EQ(teacher[0].item<double>(), 0);
  ema.update(0.5);
  EXPECT_TRUE(teacher.equal(torch::full({2}, 0.5)));
}

}  // namespace
}  // namespace lacuna::nn
