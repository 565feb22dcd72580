#include "lacuna/train/step.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lacuna/core/torch.h"
#include "tests/support/tiny.h"

namespace lacuna::train {
namespace {

struct Bench {
  std::unique_ptr<RunConfig> config = testing::tiny_config("mae", {16, 16}, {4, 4}, 3);
  std::shared_ptr<Method> method = config->make_method();
  std::unique_ptr<Optimizer> optimizer = make_adamw(parameter_groups(*method, 0.05), 0.9, 0.95);
  StepState state{config->train};
};

std::map<std::string, Tensor> copy(const Method& method) {
  std::map<std::string, Tensor> out;
  for (const auto& [name, tensor] : method.weights()) out[name] = tensor.detach().clone();
  return out;
}

bool same(const std::map<std::string, Tensor>& a, const std::map<std::string, Tensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.first == y.first && x.second.equal(y.second);
  });
}

TEST(TakeStep, AccumulatedHalvesEqualTheWholeBatch) {
  Bench whole, halves;
  const auto batch = testing::random_batch(*whole.method, 4);
  std::vector<Batch> parts(2, batch);
  for (int64_t i = 0; i < 2; ++i) {
    parts[i].image = batch.image.slice(0, 2 * i, 2 * i + 2);
    parts[i].sample = {2 * i, 2 * i + 1};
  }
  const auto one = take_step(*whole.method, *whole.optimizer, {batch}, scaled_rate(1e-3), whole.config->train,
                             whole.state);
  const auto two = take_step(*halves.method, *halves.optimizer, parts, scaled_rate(1e-3),
                             halves.config->train, halves.state);
  EXPECT_NEAR(one.loss, two.loss, 1e-6);
  EXPECT_NEAR(one.grad_norm, two.grad_norm, 1e-5 * one.grad_norm);
}

TEST(TakeStep, WhatIsNotFiniteIsNotApplied) {
  Bench setup;
  auto batch = testing::random_batch(*setup.method, 4);
  batch.image[0][0][0][0] = NAN;
  batch.image[0].fill_(NAN);
  const auto before = copy(*setup.method);
  const auto result = take_step(*setup.method, *setup.optimizer, {batch}, scaled_rate(1e-3),
                                setup.config->train, setup.state);
  EXPECT_THAT(result.problem, ::testing::HasSubstr("loss is"));
  EXPECT_TRUE(same(before, copy(*setup.method)));
  for (const auto& [name, tensor] : setup.optimizer->state())
    EXPECT_EQ(tensor.abs().sum().item<double>(), 0) << name;
}

TEST(TakeStep, ASpikeIsNotApplied) {
  Bench setup;
  setup.state.spikes = SpikeDetector(5);
  const auto batch = testing::random_batch(*setup.method, 4);
  for (int i = 0; i < 20; ++i)
    EXPECT_EQ(
        take_step(*setup.method, *setup.optimizer, {batch}, scaled_rate(0), setup.config->train, setup.state)
            .problem,
        "");
  auto loud = batch;
  loud.image = batch.image * 1000;
  setup.config->table.set("loss.norm_pix", false, "test");
  for (auto& item : setup.method->named_parameters())
    if (item.key() == "decoder_pred.weight") {
      const torch::NoGradGuard no_grad;
      item.value().mul_(1000);
    }
  const auto before = copy(*setup.method);
  const auto result =
      take_step(*setup.method, *setup.optimizer, {loud}, scaled_rate(1e-3), setup.config->train, setup.state);
  EXPECT_THAT(result.problem, ::testing::HasSubstr("spike"));
  EXPECT_TRUE(same(before, copy(*setup.method)));
}

TEST(TakeStep, Bf16StaysNearFp32) {
  Bench full, half;
  half.config->train.precision = "bf16";
  const auto batch = testing::random_batch(*full.method, 8);
  const auto exact =
      take_step(*full.method, *full.optimizer, {batch}, scaled_rate(1e-3), full.config->train, full.state);
  const auto rough =
      take_step(*half.method, *half.optimizer, {batch}, scaled_rate(1e-3), half.config->train, half.state);
  EXPECT_NEAR(rough.loss, exact.loss, 5e-3 * exact.loss);
  EXPECT_NEAR(rough.grad_norm, exact.grad_norm, 5e-2 * exact.grad_norm);
  for (const auto& item : half.method->named_parameters())
    EXPECT_EQ(item.value().scalar_type(), torch::kFloat);
}

TEST(TakeStep, Fp16StaysNearFp32) {
  Bench full, half;
  half.config->train.precision = "fp16";
  half.state = StepState(half.config->train);
  EXPECT_EQ(half.state.scaler.scale(), 65536);
  const auto batch = testing::random_batch(*full.method, 8);
  const auto exact =
      take_step(*full.method, *full.optimizer, {batch}, scaled_rate(1e-3), full.config->train, full.state);
  const auto rough =
      take_step(*half.method, *half.optimizer, {batch}, scaled_rate(1e-3), half.config->train, half.state);
  EXPECT_EQ(rough.problem, "");
  EXPECT_FALSE(rough.rescaled);
  EXPECT_NEAR(rough.loss, exact.loss, 1e-3 * exact.loss);
  EXPECT_NEAR(rough.grad_norm, exact.grad_norm, 1e-2 * exact.grad_norm);
}

TEST(TakeStep, AnOverflowOfFp16HalvesTheScaleAndLeavesTheWeights) {
  Bench setup;
  setup.config->train.precision = "fp16";
  setup.config->train.loss_scale = 1e30;
  setup.state = StepState(setup.config->train);
  const auto batch = testing::random_batch(*setup.method, 4);
  const auto before = copy(*setup.method);
  const auto result = take_step(*setup.method, *setup.optimizer, {batch}, scaled_rate(1e-3),
                                setup.config->train, setup.state);
  EXPECT_TRUE(result.rescaled);
  EXPECT_EQ(result.problem, "");
  EXPECT_EQ(setup.state.scaler.scale(), 5e29);
  EXPECT_TRUE(same(before, copy(*setup.method)));
}

TEST(LossScaler, GrowsAfterTwoThousandSoundStepsAndEndsAtOne) {
  TrainConfig config;
  config.precision = "fp16";
  config.loss_scale = 4;
  LossScaler scaler(config);
  for (int i = 0; i < 1999; ++i) EXPECT_FALSE(scaler.update(true));
  LossScaler resumed(config);
  resumed.load(scaler.to_json());
  for (auto* one : {&scaler, &resumed}) {
    EXPECT_EQ(one->scale(), 4);
    one->update(true);
    EXPECT_EQ(one->scale(), 8);
    for (const double scale : {4., 2., 1.}) {
      EXPECT_TRUE(one->update(false));
      EXPECT_EQ(one->scale(), scale);
    }
    EXPECT_FALSE(one->update(false));  // a scale of one overflows: that is no matter of scale
  }
  LossScaler off{TrainConfig{}};
  EXPECT_FALSE(off.update(false));
  EXPECT_EQ(off.scale(), 1);
}

TEST(SpikeDetector, JudgesByTheMedianAndAcceptsALastingChange) {
  SpikeDetector detector(10);
  for (int i = 0; i < 15; ++i) EXPECT_FALSE(detector.is_spike(1e6)) << "too few to judge";
  SpikeDetector steady(10);
  for (int i = 0; i < 64; ++i) steady.is_spike(1);
  EXPECT_FALSE(steady.is_spike(9));
  EXPECT_TRUE(steady.is_spike(11));
  int refused = 0;
  for (int i = 0; i < 64; ++i) refused += steady.is_spike(100) ? 1 : 0;
  EXPECT_GT(refused, 20);
  EXPECT_FALSE(steady.is_spike(100));
}

TEST(SpikeDetector, StateRoundTrips) {
  SpikeDetector a(3), b(3);
  for (int i = 0; i < 20; ++i) a.is_spike(1 + i * 0.01);
  b.load(a.to_json());
  EXPECT_EQ(a.is_spike(3.2), b.is_spike(3.2));
  EXPECT_EQ(a.to_json(), b.to_json());
}

}  // namespace
}  // namespace lacuna::train
