// The kernels of lacuna/nn/kernels beside LibTorch's operators, in turns. Prints the fastest of the runs in
// ms, both ways: forward and backward together. usage: kernel_bench [runs] (cmake --build --preset release
// --target kernel_bench && build/release/kernel_bench)

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <iostream>

#include "lacuna/core/torch.h"
#include "lacuna/nn/attention.h"
#include "lacuna/nn/autocast.h"
#include "lacuna/nn/layers.h"

namespace {

using lacuna::nn::Autocast;
using torch::Tensor;

double milliseconds(const std::function<void()>& work) {
  const auto begun = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begun).count();
}

void compare(const std::string& name, int runs, const std::function<void()>& theirs,
             const std::function<void()>& ours) {
  theirs(), ours();
  double a = 1e9, b = 1e9;
  for (int i = 0; i < runs; ++i) a = std::min(a, milliseconds(theirs)), b = std::min(b, milliseconds(ours));
  std::cout << name << ": operators " << a << " ms, kernel " << b << " ms, " << a / b << " x\n";
}

/// Forward in `type`'s autocast, and backward.
std::function<void()> both_ways(torch::Dtype type, Tensor x, std::function<Tensor(const Tensor&)> forward) {
  return [=] {
    const auto leaf = x.detach().requires_grad_();
    Tensor out;
    {
      const Autocast cast(type == torch::kFloat ? std::nullopt : std::make_optional(type), torch::kCPU);
      out = forward(leaf);
    }
    out.backward(torch::ones_like(out));
  };
}

void compare_all(int runs, torch::Dtype type, int64_t B, int64_t N, int64_t D) {
  const lacuna::nn::LayerNorm norm(D, 1e-6);
  const lacuna::nn::Attention attention(D, D / 64, true);
  const lacuna::nn::Mlp mlp(D, 4 * D);
  const auto x = torch::randn({B, N, D});
  const auto size = " " + std::string(type == torch::kFloat ? "fp32" : "bf16") + " " + std::to_string(B) +
                    " x " + std::to_string(N) + " x " + std::to_string(D);
  compare("MLP branch" + size, runs,
          both_ways(type, x, [&](const Tensor& in) { return in + mlp.forward(norm.forward(in)); }),
          both_ways(type, x, [&](const Tensor& in) { return mlp.residual(in, norm); }));
  compare("attention branch" + size, runs,
          both_ways(type, x, [&](const Tensor& in) { return in + attention.forward(norm.forward(in)); }),
          both_ways(type, x, [&](const Tensor& in) { return attention.residual(in, norm); }));
}

}  // namespace

int main(int argc, char** argv) {
  const int runs = argc > 1 ? std::atoi(argv[1]) : 10;
  for (const auto type : {torch::kFloat, torch::kBFloat16})
    for (const int64_t tokens : {50, 197}) compare_all(runs, type, 32, tokens, 192);
}
