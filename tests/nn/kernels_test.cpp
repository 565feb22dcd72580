// The kernels of transformer blocks against LibTorch's operators, values and gradients.

#include <gtest/gtest.h>

#include <limits>

#include "lacuna/core/torch.h"
#include "lacuna/nn/autocast.h"
#include "lacuna/nn/kernels/branch.h"
#include "lacuna/nn/kernels/rows.h"
#include "lacuna/nn/layers.h"

namespace lacuna::nn {
namespace {

double error(const Tensor& a, const Tensor& b) {
  const auto x = a.to(torch::kDouble), y = b.to(torch::kDouble);
  return (x - y).abs().max().item<double>() / y.abs().max().item<double>();
}

/// Rows, width: with and without a remainder of the vectors, one row, and several chunks of rows.
using Shape = std::tuple<int64_t, int64_t, torch::ScalarType>;

class Rows : public ::testing::TestWithParam<Shape> {
 protected:
  void SetUp() override {
    torch::manual_seed(5);
    std::tie(R, D, type) = GetParam();
    // What rounding to the storage's type leaves, of the largest value.
    tolerance = type == torch::kFloat ? 2e-6 : 8e-3;
  }
  Tensor random(std::vector<int64_t> shape) const { return torch::randn(shape); }
  /// As stored, and the same values in double.
  std::pair<Tensor, Tensor> stored() const {
    const auto x = random({R, D}).to(type);
    return {x, x.to(torch::kDouble)};
  }

  int64_t R = 0, D = 0;
  torch::ScalarType type = torch::kFloat;
  double tolerance = 0;
};

TEST_P(Rows, LayerNormEqualsLibTorchs) {
  const auto x = random({R, D}) * 3 + 1, gamma = random({D}), beta = random({D}), out = random({R, D});
  const auto [dy, exact_dy] = stored();
  const auto leaf = [](const Tensor& t) { return t.to(torch::kDouble).requires_grad_(); };
  const auto X = leaf(x), G = leaf(gamma), B = leaf(beta);
  const auto y = at::layer_norm(X, {D}, G, B, 1e-6);
  (y * exact_dy).sum().backward();

  const auto normed = kernels::layer_norm(x, gamma, beta, 1e-6, type);
  EXPECT_EQ(normed.y.scalar_type(), type);
  EXPECT_LT(error(normed.y, y.detach()), tolerance);
  EXPECT_TRUE(kernels::normalize(x, normed, gamma, beta, type).equal(normed.y));
  const auto grads = kernels::layer_norm_backward(out, dy, x, normed, gamma);
  EXPECT_LT(error(grads.x, X.grad() + out), 3e-6);
  EXPECT_LT(error(grads.gamma, G.grad()), 3e-6);
  EXPECT_LT(error(grads.beta, B.grad()), 3e-6);
  EXPECT_LT(error(grads.bias, out.to(torch::kDouble).sum(0)), 3e-6);
}

TEST_P(Rows, BiasAndGeluEqualLibTorchs) {
  const auto [h, exact] = stored();
  const auto [grad, exact_grad] = stored();
  const auto bias = random({D});
  const auto H = exact.clone().requires_grad_(), B = bias.to(torch::kDouble).requires_grad_();
  const auto y = at::gelu(H + B);
  (y * exact_grad).sum().backward();

  EXPECT_LT(error(kernels::bias_gelu(h, bias), y.detach()), tolerance);
  const auto dh = grad.clone();
  const auto grads = kernels::bias_gelu_backward_(dh, h, bias);
  EXPECT_LT(error(grads.activated, y.detach()), tolerance);
  EXPECT_LT(error(dh, H.grad()), tolerance);
  EXPECT_LT(error(grads.bias, B.grad()), 3e-6);
}

TEST_P(Rows, SumsEqualLibTorchs) {
  const auto [branch, exact] = stored();
  const auto x = random({R, D}), bias = random({D});
  EXPECT_LT(error(kernels::add_branch(x, branch, bias), x + exact + bias), 1e-6);
  EXPECT_LT(error(kernels::column_sum(branch), exact.sum(0)), 3e-6);
}

INSTANTIATE_TEST_SUITE_P(Shapes, Rows,
                         ::testing::Combine(::testing::Values(1, 700), ::testing::Values(7, 192),
                                            ::testing::Values(torch::kFloat, torch::kBFloat16)));

TEST(Gelu, IsRightFarOutAndKeepsNan) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto x = torch::tensor({-40.F, -9.F, -3.F, 0.F, 3.F, 9.F, 40.F, 0.5F, nan}).view({1, 9});
  for (const auto type : {torch::kFloat, torch::kBFloat16}) {
    const auto y = kernels::bias_gelu(x.to(type), torch::zeros({9})).to(torch::kFloat);
    EXPECT_TRUE(at::allclose(y, at::gelu(x.to(type).to(torch::kFloat)).to(type).to(torch::kFloat), 1e-2, 3e-6,
                             /*equal_nan=*/true))
        << y;
  }
}

/// A block's branches with their gradients, made of operators and made by the functions.
struct Branches {
  explicit Branches(int64_t dim) : norm(dim, 1e-6), attention(dim, 2, true), mlp(dim, 4 * dim) {
    torch::manual_seed(7);
    const torch::NoGradGuard no_grad;
    for (auto* module : std::vector<torch::nn::Module*>{&norm, &attention, &mlp})
      for (auto& parameter : module->parameters()) parameter.copy_(torch::randn_like(parameter) * 0.2);
  }
  std::vector<Tensor> parameters() const {
    std::vector<Tensor> all;
    for (const auto* module : std::vector<const torch::nn::Module*>{&norm, &attention, &mlp})
      for (const auto& parameter : module->parameters()) all.push_back(parameter);
    return all;
  }
  template <class Run>
  std::vector<Tensor> gradients(Run run, bool bf16) {
    torch::manual_seed(9);
    const auto x = torch::randn({3, 21, norm.weight.size(0)}).requires_grad_();
    const auto weight = torch::randn({3, 21, norm.weight.size(0)});
    for (auto& parameter : parameters()) parameter.mutable_grad().reset();
    Tensor out;
    {
      const Autocast cast(bf16 ? std::make_optional(torch::kBFloat16) : std::nullopt, torch::kCPU);
      out = run(x);
    }
    (out * weight).sum().backward();
    std::vector<Tensor> all{out.detach(), x.grad()};
    for (const auto& parameter : parameters())
      if (parameter.grad().defined()) all.push_back(parameter.grad());
    return all;
  }
  LayerNorm norm;
  Attention attention;
  Mlp mlp;
};

class Branch : public ::testing::TestWithParam<bool> {};

TEST_P(Branch, EqualsItsOperatorsWithAllGradients) {
  Branches b(32);
  const bool bf16 = GetParam();
  const double tolerance = bf16 ? 3e-2 : 1e-5;
  const auto operators = b.gradients(
      [&](const Tensor& x) {
        const auto mixed = x + b.attention.forward(b.norm.forward(x));
        return mixed + b.mlp.forward(b.norm.forward(mixed));
      },
      bf16);
  const auto functions = b.gradients(
      [&](const Tensor& x) { return b.mlp.residual(b.attention.residual(x, b.norm), b.norm); }, bf16);
  ASSERT_EQ(functions.size(), operators.size());
  ASSERT_EQ(functions.size(), 2U + b.parameters().size());
  for (size_t i = 0; i < functions.size(); ++i) {
    EXPECT_EQ(functions[i].scalar_type(), torch::kFloat);
    EXPECT_LT(error(functions[i], operators[i]), tolerance) << i;
  }
}

TEST_P(Branch, GivesFrozenWeightsNoGradient) {
  Branches b(32);
  for (auto& parameter : b.mlp.parameters()) parameter.requires_grad_(false);
  const auto all = b.gradients([&](const Tensor& x) { return b.mlp.residual(x, b.norm); }, GetParam());
  EXPECT_EQ(all.size(), 4U);  // out, x, and the norm's two
}

INSTANTIATE_TEST_SUITE_P(Precision, Branch, ::testing::Bool());

}  // namespace
}  // namespace lacuna::nn
