#include "lacuna/nn/attention.h"

#include <gtest/gtest.h>

#include "lacuna/core/torch.h"

#include <cmath>
#include <tuple>

namespace lacuna::nn {
namespace {

/// The definition, in double.
Tensor by_definition(const Tensor& qkv, int64_t heads, const Tensor& bias) {
  const int64_t S = qkv.size(0), N = qkv.size(1), D = qkv.size(2) / 3;
  const auto parts = qkv.view({S, N, 3, heads, D / heads}).permute({2, 0, 3, 1, 4});
  auto logits = at::matmul(parts[0], parts[1].transpose(-2, -1)) / std::sqrt(static_cast<double>(D / heads));
  if (bias.defined()) {
    const auto each = bias.dim() == 4 ? bias : bias.unsqueeze(0);
    logits = (logits.view({-1, each.size(0), heads, N, N}) + each).view({S, heads, N, N});
  }
  return at::matmul(logits.softmax(-1), parts[2]).transpose(1, 2).reshape({S, N, D});
}

using Case = std::tuple<int64_t, int64_t, int64_t, int64_t,
                        int64_t>;  // S, N, heads, d, windows of the bias (0: no bias)

class SelfAttention : public ::testing::TestWithParam<Case> {
 protected:
  struct Result {
    Tensor out, dqkv, dbias;
  };
  template <class Attention>
  Result run(Attention attention, torch::ScalarType inputs, torch::ScalarType biases) {
    const auto [S, N, H, d, W] = GetParam();
    torch::manual_seed(3);
    const auto qkv = torch::randn({S, N, 3 * H * d}, torch::kDouble).to(inputs).requires_grad_();
    Tensor bias;
    if (W == 1) bias = torch::randn({H, N, N}, torch::kDouble).to(biases).requires_grad_();
    if (W > 1) bias = torch::randn({W, H, N, N}, torch::kDouble).to(biases).requires_grad_();
    const auto weight = torch::randn({S, N, H * d}, torch::kDouble);
    const auto out = attention(qkv, H, bias);
    (out.to(torch::kDouble) * weight).sum().backward();
    return {out.detach().to(torch::kDouble), qkv.grad().to(torch::kDouble),
            bias.defined() ? bias.grad().to(torch::kDouble) : torch::zeros({1}, torch::kDouble)};
  }
  Result exact() { return run(by_definition, torch::kDouble, torch::kDouble); }
  Result ours(torch::ScalarType type) {
    return run(
        [](const Tensor& qkv, int64_t heads, const Tensor& bias) { return self_attention(qkv, heads, bias); },
        type, torch::kFloat);
  }
};

double error(const Tensor& a, const Tensor& b) {
  return (a - b).abs().max().item<double>() / b.abs().max().item<double>();
}

TEST_P(SelfAttention, EqualsItsDefinitionWithGradients) {
  const auto a = ours(torch::kFloat), b = exact();
  EXPECT_LT(error(a.out, b.out), 3e-6);
  EXPECT_LT(error(a.dqkv, b.dqkv), 3e-6);
  if (b.dbias.numel() > 1) EXPECT_LT(error(a.dbias, b.dbias), 3e-6);
}

TEST_P(SelfAttention, StaysNearItInBf16) {
  const auto a = ours(torch::kBFloat16), b = exact();
  EXPECT_LT(error(a.out, b.out), 2e-2);
  EXPECT_LT(error(a.dqkv, b.dqkv), 3e-2);
  if (b.dbias.numel() > 1) EXPECT_LT(error(a.dbias, b.dbias), 3e-2);
}

INSTANTIATE_TEST_SUITE_P(Shapes, SelfAttention,
                         ::testing::Values(Case{2, 5, 3, 4, 0}, Case{4, 7, 2, 8, 1}, Case{6, 9, 2, 4, 3},
                                           Case{1, 1, 1, 2, 0}, Case{1, 600, 1, 8, 0},
                                           Case{2, 600, 1, 8, 1}));

}  // namespace
}  // namespace lacuna::nn
