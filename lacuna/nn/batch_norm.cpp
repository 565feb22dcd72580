#include "lacuna/nn/batch_norm.h"

#include "lacuna/core/torch.h"

namespace lacuna::nn {

BatchNorm::BatchNorm(int64_t channels, double eps, double momentum) : eps_(eps), momentum_(momentum) {
  weight = register_parameter("weight", torch::ones({channels}));
  bias = register_parameter("bias", torch::zeros({channels}));
  running_mean = register_buffer("running_mean", torch::zeros({channels}));
  running_var = register_buffer("running_var", torch::ones({channels}));
  num_batches_tracked = register_buffer("num_batches_tracked", torch::zeros({}, torch::kLong));
}

Tensor BatchNorm::forward(const Tensor& x) {
  if (is_training()) num_batches_tracked.add_(1);
  if (is_training() && sum) return forward_together(x);
  return torch::batch_norm(x, weight, bias, running_mean, running_var, is_training(), momentum_, eps_,
                           at::globalContext().userEnabledCuDNN());
}

// Mean first, then squares about it: their difference would lose digits.
Tensor BatchNorm::forward_together(const Tensor& x) {
  const int64_t C = x.size(1);
  std::vector<int64_t> others{0}, shape(static_cast<size_t>(x.dim()), 1);
  for (int64_t i = 2; i < x.dim(); ++i) others.push_back(i);
  shape[1] = C;

  const auto values = x.to(torch::kFloat);  // [B, C, ...]
  const auto own_count = torch::full({1}, static_cast<double>(x.numel() / C), values.options());
  const auto totals = sum(torch::cat({values.sum(others), own_count}));  // [C + 1]
  const auto count = totals.slice(0, C);
  const auto mean = totals.slice(0, 0, C) / count;
  const auto centred = values - mean.view(shape);
  const auto variance = sum(centred.square().sum(others)) / count;
  {
    const torch::NoGradGuard no_grad;
    running_mean.lerp_(mean, momentum_);
    running_var.lerp_(variance * (count / (count - 1)), momentum_);
  }
  const auto scale = weight * (variance + eps_).rsqrt();
  return (centred * scale.view(shape) + bias.view(shape)).to(x.dtype());
}

void synchronize_batch_norms(torch::nn::Module& module, const SumOverProcesses& sum) {
  for (const auto& part : module.modules())
    if (auto* norm = part->as<BatchNorm>()) norm->sum = sum;
}

}  // namespace lacuna::nn
