#include "lacuna/train/optim.h"

#include "lacuna/train/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna::train {
namespace {

Tensor weight(int64_t n, double phase) {
  return at::arange(n, at::kDouble).add(phase).sin().to(at::kFloat).requires_grad_();
}

Tensor gradient(int64_t n, double t, double phase) {
  const Tensor i = at::arange(n, at::kDouble);
  return (0.1 * (1 + i) * (0.7 * i + t + phase).cos()).to(at::kFloat);
}

/// A 2x3 matrix and a vector of 3; the vector has half the rate and no decay.
struct Pair {
  explicit Pair(double weight_decay, double scale = 0.5) {
    matrix = weight(6, 0).detach().view({2, 3}).requires_grad_();
    vector = weight(3, 1);
    groups = {{{"matrix"}, {matrix}, weight_decay, 1}, {{"vector"}, {vector}, 0, scale}};
  }
  void set_gradients(int t) {
    matrix.mutable_grad() = gradient(6, t, 0).view({2, 3});
    vector.mutable_grad() = gradient(3, t, 0.5);
  }
  Tensor matrix, vector;
  std::vector<ParamGroup> groups;
};

void expect_near(const Tensor& got, const std::vector<double>& wanted, double tolerance) {
  ASSERT_EQ(got.numel(), static_cast<int64_t>(wanted.size()));
  const Tensor flat = got.detach().flatten().to(at::kDouble);
  for (size_t i = 0; i < wanted.size(); ++i) EXPECT_NEAR(flat[i].item<double>(), wanted[i], tolerance) << i;
}

// Figures of torch.optim.AdamW(fused=False), torch 2.13.0: betas (0.9, 0.95), ten steps, the vector without a
// gradient in the fifth.
TEST(AdamW, EqualsPyTorchOverTenSteps) {
  Pair pair(0.05);
  const auto optimizer = make_adamw(pair.groups, 0.9, 0.95);
  for (int t = 0; t < 10; ++t) {
    pair.set_gradients(t);
    if (t == 4) pair.vector.mutable_grad().reset();
    optimizer->step(0.01);
  }
  expect_near(pair.matrix, {-0.02579477, 0.83112472, 0.92152119, 0.18175922, -0.72021103, -0.93746728}, 1e-6);
  expect_near(pair.vector, {0.83262742, 0.91634101, 0.16770418}, 1e-6);
  const auto state = optimizer->state();
  expect_near(state.at("exp_avg.matrix"),
              {-0.00036476, -0.01894534, -0.04237630, -0.04853914, -0.02218480, 0.03208583}, 1e-6);
  expect_near(state.at("exp_avg_sq.matrix"),
              {0.00210755, 0.00848702, 0.01749888, 0.02991682, 0.05054762, 0.07733263}, 1e-6);
  EXPECT_EQ(state.at("step.matrix").item<float>(), 10);
  EXPECT_EQ(state.at("step.vector").item<float>(), 9);
}

TEST(AdamW, AcceptsGradientsOfAnyStride) {
  Pair plain(0), strided(0);
  const auto one = make_adamw(plain.groups, 0.9, 0.95), other = make_adamw(strided.groups, 0.9, 0.95);
  plain.set_gradients(0);
  strided.matrix.mutable_grad() = plain.matrix.grad().t().contiguous().t();
  ASSERT_FALSE(strided.matrix.grad().is_contiguous());
  one->step(0.01);
  other->step(0.01);
  EXPECT_TRUE(at::equal(plain.matrix, strided.matrix));
}

TEST(AdamW, ContinuesBitForBitFromItsSavedState) {
  Pair straight(0.05), resumed(0.05);
  const auto first = make_adamw(straight.groups, 0.9, 0.999);
  for (int t = 0; t < 3; ++t) straight.set_gradients(t), first->step(0.01);
  {
    const torch::NoGradGuard no_grad;
    resumed.matrix.copy_(straight.matrix);
    resumed.vector.copy_(straight.vector);
  }
  io::Tensors saved;
  for (const auto& [name, tensor] : first->state()) saved[name] = tensor.clone();
  const auto second = make_adamw(resumed.groups, 0.9, 0.999);
  second->load_state(saved, "trainer.safetensors");
  for (int t = 3; t < 6; ++t) {
    straight.set_gradients(t), first->step(0.01);
    resumed.set_gradients(t), second->step(0.01);
  }
  EXPECT_TRUE(at::equal(straight.matrix, resumed.matrix));
  EXPECT_TRUE(at::equal(straight.vector, resumed.vector));
}

// Figures of an independent NumPy computation in float64.
TEST(Lars, EqualsTheFormulaOverTenSteps) {
  Pair pair(0.1, 1.0);
  const auto optimizer = make_lars(pair.groups, 0.9, 0.02);
  for (int t = 0; t < 10; ++t) {
    pair.set_gradients(t);
    optimizer->step(0.3);
  }
  expect_near(pair.matrix, {0.00009609, 0.80735424, 0.89647522, 0.18516614, -0.68267671, -0.93024644}, 2e-6);
  expect_near(pair.vector, {0.81830647, 1.18562661, 0.84465813}, 2e-6);
  expect_near(optimizer->state().at("mu.matrix"),
              {-0.00350633, 0.01000405, -0.00148271, -0.02407670, -0.02683675, 0.00882153}, 2e-6);
}

// p = 1, g = 2, decay 0.5: g' = 2.5, mu = 2.5, p = 0.75; then g' = 2.375, mu = 4.625, p = 0.2875.
TEST(Sgd, TwoStepsByHand) {
  Tensor param = at::ones({1, 1}).requires_grad_();
  const auto optimizer = make_sgd({{{"weight"}, {param}, 0.5, 1}}, 0.9);
  for (const double wanted : {0.75, 0.2875}) {
    param.mutable_grad() = at::full({1, 1}, 2.0);
    optimizer->step(0.1);
    EXPECT_NEAR(param.item<double>(), wanted, 1e-6);
  }
}

TEST(Lars, ScaleIsOneWhereANormIsZero) {
  Tensor zero = at::zeros({2, 2}).requires_grad_(), one = at::ones({2, 2}).requires_grad_();
  const auto optimizer = make_lars({{{"zero", "one"}, {zero, one}, 0, 1}}, 0.9, 0.001);
  zero.mutable_grad() = at::full({2, 2}, 3.0);
  one.mutable_grad() = at::zeros({2, 2});
  optimizer->step(0.5);
  EXPECT_TRUE(at::equal(zero, at::full({2, 2}, -1.5)));
  EXPECT_TRUE(at::equal(one, at::ones({2, 2})));
}

TEST(Optimizer, LeavesParametersWithoutAGradientAlone) {
  for (const bool adamw : {true, false}) {
    Pair pair(0.05);
    const auto optimizer = adamw ? make_adamw(pair.groups, 0.9, 0.95) : make_lars(pair.groups);
    pair.set_gradients(0);
    optimizer->zero_grad();
    EXPECT_FALSE(pair.matrix.grad().defined());
    const Tensor before = pair.matrix.detach().clone();
    optimizer->step(0.1);
    EXPECT_TRUE(at::equal(before, pair.matrix));
  }
}

TEST(Optimizer, NamesWhatDoesNotFitInASavedState) {
  Pair pair(0);
  const auto optimizer = make_lars(pair.groups);
  const auto message = [&](const io::Tensors& saved) -> std::string {
    try {
      optimizer->load_state(saved, "RUN/trainer.safetensors");
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  const Tensor matrix = at::ones({2, 3}), vector = at::ones({3});
  EXPECT_EQ(message({{"mu.matrix", matrix}, {"mu.vector", vector}}), "");
  EXPECT_THAT(message({{"mu.matrix", matrix}}), testing::HasSubstr("RUN/trainer.safetensors: "));
  EXPECT_THAT(message({{"mu.matrix", matrix}}), testing::HasSubstr("no tensor mu.vector"));
  EXPECT_THAT(message({{"mu.matrix", matrix}, {"mu.vector", vector}, {"exp_avg.vector", vector}}),
              testing::HasSubstr("unexpected tensor exp_avg.vector"));
  EXPECT_THAT(message({{"mu.matrix", at::zeros({3, 2})}, {"mu.vector", at::zeros({3})}}),
              testing::HasSubstr("mu.matrix has shape [3, 2] instead of [2, 3]"));
  // A refused state changes nothing.
  EXPECT_TRUE(at::equal(optimizer->state().at("mu.vector"), vector));
}

// Figures of torch.nn.utils.clip_grad_norm_(parameters, 0.5).
TEST(Gradients, AreMeasuredAndClippedAsInPyTorch) {
  Pair pair(0);
  pair.set_gradients(0);
  const double norm = gradient_norm(pair.groups);
  EXPECT_NEAR(norm, 0.79798919, 1e-6);
  clip_gradients(pair.groups, norm, 0.5);
  expect_near(pair.vector.grad(), {0.05498705, 0.04540880, -0.06076946}, 1e-6);
  EXPECT_NEAR(gradient_norm(pair.groups), 0.5, 1e-5);

  const Tensor before = pair.matrix.grad().clone();
  clip_gradients(pair.groups, 0.5, 3.0);
  EXPECT_TRUE(at::equal(before, pair.matrix.grad()));
}

TEST(Gradients, NormIsNotFiniteWhenAGradientIsNot) {
  Pair pair(0);
  EXPECT_EQ(gradient_norm(pair.groups), 0);
  pair.set_gradients(0);
  pair.vector.mutable_grad()[1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(gradient_norm(pair.groups)));
  pair.vector.mutable_grad()[1] = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(std::isinf(gradient_norm(pair.groups)));
}

struct TwoLayers : Method {
  TwoLayers() {
    auto proj = register_module("proj", std::make_shared<torch::nn::Module>());
    proj->register_parameter("weight", at::ones({2, 3}));
    proj->register_parameter("bias", at::ones({1, 2}));
    register_parameter("token", at::ones({3}));
    register_parameter("pos_embed", at::ones({1, 4, 3}), /*requires_grad=*/false);
  }
  Loss forward(const Batch&, Draws&) override { return {}; }
  Tensor features(const Batch&, const FeatureOptions&) override { return {}; }
  Preview preview(const Batch&, Draws&) override { return {}; }
  InputSpec input() const override { return {}; }
};

TEST(ParameterGroups, DecayOnlyMatricesAndLeaveFixedOnesOut) {
  const auto groups = parameter_groups(TwoLayers(), 0.05);
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].weight_decay, 0);
  EXPECT_THAT(groups[0].names, testing::UnorderedElementsAre("proj.bias", "token"));
  EXPECT_EQ(groups[1].weight_decay, 0.05);
  EXPECT_THAT(groups[1].names, testing::ElementsAre("proj.weight"));
}

TEST(CosineLr, WarmsUpThenFollowsHalfACosine) {
  EXPECT_DOUBLE_EQ(cosine_lr(0, 400, 40, 1e-3, 1e-5), 0);
  EXPECT_DOUBLE_EQ(cosine_lr(10, 400, 40, 1e-3, 1e-5), 2.5e-4);
  EXPECT_DOUBLE_EQ(cosine_lr(40, 400, 40, 1e-3, 1e-5), 1e-3);
  EXPECT_NEAR(cosine_lr(130, 400, 40, 1e-3, 1e-5), 1e-5 + 9.9e-4 * 0.5 * (1 + std::sqrt(0.5)), 1e-12);
  EXPECT_NEAR(cosine_lr(220, 400, 40, 1e-3, 1e-5), 5.05e-4, 1e-12);
  EXPECT_DOUBLE_EQ(cosine_lr(400, 400, 40, 1e-3, 1e-5), 1e-5);
  EXPECT_DOUBLE_EQ(cosine_lr(401, 400, 40, 1e-3, 1e-5), 1e-5);
  EXPECT_DOUBLE_EQ(cosine_lr(0, 1, 0, 1e-3, 0), 1e-3);
  EXPECT_DOUBLE_EQ(cosine_lr(5, 5, 5, 1e-3, 0), 0);
}

TEST(Clipping, ByPart) {
  const auto parameter = [](double gradient) {
    auto x = torch::zeros({1}).requires_grad_();
    x.mutable_grad() = torch::full({1}, gradient);
    return x;
  };
  const auto a = parameter(3), b = parameter(4), c = parameter(0.5);
  ParamGroup group{.names = {"encoder.a", "encoder.b", "predictor.c"}, .params = {a, b, c}};
  clip_gradients_by_part({group}, 1, [](const std::string& name) { return name.substr(0, name.find('.')); });
  EXPECT_NEAR(a.grad().item<double>(), 0.6, 1e-5);
  EXPECT_NEAR(b.grad().item<double>(), 0.8, 1e-5);
  EXPECT_NEAR(c.grad().item<double>(), 0.5, 1e-6);  // its own norm is small enough
}

TEST(Optimizer, DecayMovesForGroupsThatDecay) {
  const auto x = torch::ones({2, 2}).requires_grad_(), y = torch::ones({2}).requires_grad_();
  const auto optimizer = make_adamw(
      {{.names = {"x"}, .params = {x}, .weight_decay = 0.1, .decays = true}, {.names = {"y"}, .params = {y}}},
      0.9, 0.999);
  optimizer->set_weight_decay(0.5);
  for (const auto& tensor : {x, y}) tensor.mutable_grad() = torch::zeros_like(tensor);
  optimizer->step(0.1);
  EXPECT_NEAR(x[0][0].item<double>(), 1 - 0.1 * 0.5, 1e-6);
  EXPECT_EQ(y[0].item<double>(), 1);
}

}  // namespace
}  // namespace lacuna::train
