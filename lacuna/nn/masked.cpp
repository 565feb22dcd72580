#include "lacuna/nn/masked.h"

#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/init.h"
#include "lacuna/nn/layers.h"

namespace lacuna::nn {

namespace {

// In the official denominators.
constexpr double kFillEps = 1e-5, kShareEps = 1e-8;
constexpr int64_t kFillKernel = 3;

/// Sums over 3x3 neighbourhoods, zeros outside the picture.
Tensor neighbor_sums(const Tensor& x) {
  return at::avg_pool2d(x, {kFillKernel, kFillKernel}, {1, 1}, {1, 1}, /*ceil_mode=*/false,
                        /*count_include_pad=*/true, /*divisor_override=*/1);
}

Tensor max_pooled(const Tensor& x, int64_t kernel, int64_t stride, int64_t padding) {
  if (kernel == 1 && stride == 1) return x;
  return at::max_pool2d(x, {kernel, kernel}, {stride, stride}, {padding, padding});
}

}  // namespace

Tensor fill_from_neighbors(const Tensor& x, const Tensor& kept, int64_t rounds) {
  const auto visible = x * kept;
  if (rounds == 0) return visible;
  const torch::NoGradGuard no_grad;
  auto filled = visible.detach().clone(), valid = kept;
  for (int64_t round = 0; round < rounds; ++round) {
    const auto count = neighbor_sums(valid);
    filled.addcmul_(neighbor_sums(filled), (1 - valid) / (count + kFillEps));
    valid = (valid + count).clamp_max_(1);
  }
  filled.sub_(visible);
  const torch::AutoGradMode gradient(visible.requires_grad());
  return visible + filled;
}

Conv2d::Conv2d(const Conv2dConfig& config) : config_(config) {
  weight = register_parameter(
      "weight", torch::zeros({config.out, config.in / config.groups, config.kernel, config.kernel}));
  if (config.bias) bias = register_parameter("bias", torch::zeros({config.out}));
}

Tensor Conv2d::convolve(const Tensor& x, const Tensor& bias) const {
  const std::vector<int64_t> stride(2, config_.stride), padding(2, config_.padding), dilation(2, 1);
  return at::conv2d(x, weight, bias, stride, padding, dilation, config_.groups);
}

// Zeros beyond the picture's edge count as removed too, as in the official code.
Tensor Conv2d::convolve_partially(const MaskedTensor& input) const {
  const auto share = at::avg_pool2d(input.kept, {config_.kernel, config_.kernel},
                                    {config_.stride, config_.stride}, {config_.padding, config_.padding}) +
                     kShareEps;
  const auto y = convolve(input.x, {}) / share;
  return bias.defined() ? y + bias.view({1, -1, 1, 1}) : y;
}

MaskedTensor Conv2d::forward(const MaskedTensor& input) const {
  auto out = input;
  if (!input.masked()) {
    out.x = convolve(input.x, bias);
    return out;
  }
  out.kept = max_pooled(input.kept, config_.kernel, config_.stride, config_.padding);
  // What a 1x1 kernel reads in a hole is masked out again.
  const int64_t rounds = input.fill == HoleFill::kNeighbor && config_.kernel > 1 ? config_.kernel : 0;
  const auto y = input.fill == HoleFill::kPartial
                     ? convolve_partially(input)
                     : convolve(fill_from_neighbors(input.x, input.kept, rounds), bias);
  out.x = y * out.kept;
  return out;
}

MaskedTensor batch_norm(BatchNorm& norm, const MaskedTensor& input) {
  LACUNA_ASSERT(!(input.masked() && norm.is_training()));
  return pointwise(input, [&](const Tensor& x) { return norm.forward(x); });
}

MaskedTensor relu(const MaskedTensor& input) {
  return pointwise(input, [](const Tensor& x) { return at::relu(x); });
}

MaskedTensor max_pool(const MaskedTensor& input, const Pool2dConfig& config) {
  auto out = input;
  out.x = max_pooled(input.x, config.kernel, config.stride, config.padding);
  if (!input.masked()) return out;
  out.kept = max_pooled(input.kept, config.kernel, config.stride, config.padding);
  out.x = out.x * out.kept;
  return out;
}

MaskedTensor avg_pool(const MaskedTensor& input, const Pool2dConfig& config) {
  const auto pooled = [&](const Tensor& x) {
    return at::avg_pool2d(x, {config.kernel, config.kernel}, {config.stride, config.stride},
                          {config.padding, config.padding});
  };
  auto out = input;
  out.x = pooled(input.x);
  if (!input.masked()) return out;
  out.kept = pooled(input.kept).gt(0).to(input.kept.dtype());
  out.x = out.x * out.kept;
  return out;
}

Tensor global_avg_pool(const MaskedTensor& input) {
  const std::vector<int64_t> plane{2, 3};
  if (!input.masked()) return input.x.mean(plane, /*keepdim=*/true);
  return (input.x * input.kept).mean(plane, true) / (input.kept.mean(plane, true) + kShareEps);
}

MaskedTensor add(const MaskedTensor& branch, const MaskedTensor& shortcut) {
  auto out = branch;
  out.x = branch.x + shortcut.x;
  if (!branch.masked()) return out;
  out.kept = branch.kept * shortcut.kept;
  out.x = out.x * out.kept;
  return out;
}

void initialize_conv_net(torch::nn::Module& module, Draws& draws) {
  const torch::NoGradGuard no_grad;
  for (const auto& child : module.named_modules()) {
    if (const auto conv = std::dynamic_pointer_cast<Conv2d>(child.value())) {
      const auto fan_out = static_cast<double>(conv->weight.numel() / conv->weight.size(1));
      normal_(conv->weight, std::sqrt(2 / fan_out), draws, child.key() + ".weight");
    }
    if (const auto linear = std::dynamic_pointer_cast<Linear>(child.value()))
      default_conv_init_(linear->weight, linear->bias, draws, child.key());
  }
}

}  // namespace lacuna::nn
