#include "lacuna/nn/conv_blocks.h"

#include <algorithm>
#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna::nn {

MaskedTensor activate(const MaskedTensor& input, Activation activation) {
  switch (activation) {
    case Activation::kNone:
      return input;
    case Activation::kRelu:
      return relu(input);
    case Activation::kRelu6:
      return pointwise(input, [](const Tensor& x) { return at::clamp(x, 0, 6); });
    case Activation::kHardswish:
      return pointwise(input, [](const Tensor& x) { return at::hardswish(x); });
    case Activation::kSilu:
      return pointwise(input, [](const Tensor& x) { return at::silu(x); });
  }
  LACUNA_ASSERT(false && "an activation without a rule");
}

ConvNorm::ConvNorm(const Conv2dConfig& config, const Norm& norm, Activation activation)
    : activation_(activation) {
  conv_ = register_module("0", std::make_shared<Conv2d>(config));
  norm_ = register_module("1", std::make_shared<BatchNorm>(config.out, norm.eps, norm.momentum));
}

MaskedTensor ConvNorm::forward(const MaskedTensor& input) const {
  return activate(batch_norm(*norm_, conv_->forward(input)), activation_);
}

SqueezeExcitation::SqueezeExcitation(int64_t in, int64_t squeezed, Activation activation, Gate gate)
    : activation_(activation), gate_(gate) {
  fc1_ =
      register_module("fc1", std::make_shared<Conv2d>(Conv2dConfig{.in = in, .out = squeezed, .bias = true}));
  fc2_ =
      register_module("fc2", std::make_shared<Conv2d>(Conv2dConfig{.in = squeezed, .out = in, .bias = true}));
}

MaskedTensor SqueezeExcitation::forward(const MaskedTensor& input) const {
  const auto squeezed = activate(fc1_->forward({.x = global_avg_pool(input)}), activation_);
  const auto scale = fc2_->forward(squeezed).x;
  auto out = input;
  out.x = input.x * (gate_ == Gate::kSigmoid ? at::sigmoid(scale) : at::hardsigmoid(scale));
  return out;
}

namespace {

Tensor pooled(const Tensor& x, const Pool2dConfig& config, bool ceil_mode) {
  return at::max_pool2d(x, {config.kernel, config.kernel}, {config.stride, config.stride},
                        {config.padding, config.padding}, {1, 1}, ceil_mode);
}

}  // namespace

Tensor visible(const MaskedTensor& input) { return input.masked() ? input.x * input.kept : input.x; }

MaskedTensor open_conv(const Conv2d& conv, const MaskedTensor& input) {
  if (!input.masked()) return conv.forward(input);
  const auto& config = conv.config();
  // A 1x1 convolution is filled too: a wider mask beside it (SqueezeNet's union) can show what it read.
  auto out = conv.forward({.x = fill_from_neighbors(input.x, input.kept, config.kernel)});
  out.fill = input.fill;
  out.kept = pooled(input.kept, {config.kernel, config.stride, config.padding}, /*ceil_mode=*/false);
  return out;
}

MaskedTensor open_relu(const MaskedTensor& input) {
  auto out = input;
  out.x = at::relu(input.x);
  return out;
}

MaskedTensor open_max_pool(const MaskedTensor& input, const Pool2dConfig& config, bool ceil_mode) {
  auto out = input;
  out.x = pooled(visible(input), config, ceil_mode);
  if (input.masked()) out.kept = pooled(input.kept, config, ceil_mode);
  return out;
}

int64_t make_divisible(double channels) {
  constexpr int64_t kUnit = 8;
  constexpr double kMostLoss = 0.9;
  const auto nearest = std::max(kUnit, static_cast<int64_t>(channels + kUnit / 2.0) / kUnit * kUnit);
  return static_cast<double>(nearest) < kMostLoss * channels ? nearest + kUnit : nearest;
}

void require_side(const Tensor& image, int64_t least, const std::string& arch) {
  if (image.size(2) >= least && image.size(3) >= least) return;
  fail("encoder.arch " + arch,
       str("pictures of ", image.size(2), " x ", image.size(3), " are too small for it"),
       str("use pictures of at least ", least, " pixels a side (encoder.img_size), or another network"));
}

std::optional<Json> recognize_by_shapes(const std::string& arch, const Signature& signature,
                                        const std::map<std::string, Tensor>& weights) {
  const auto stem = weights.find(signature.stem + ".weight"), head = weights.find(signature.head + ".weight");
  if (stem == weights.end() || head == weights.end() || stem->second.dim() != 4) return std::nullopt;
  const auto& registered = Registry<ConvNetArch>::instance().get(arch);
  const ConvNetConfig config{
      .arch = arch, .in_chans = stem->second.size(1), .num_classes = head->second.size(0)};
  const auto parameters = registered.make(config)->named_parameters();
  const bool same = std::all_of(parameters.begin(), parameters.end(), [&](const auto& own) {
    const auto found = weights.find(own.key());
    return found != weights.end() && found->second.sizes() == own.value().sizes();
  });
  // One of a family may be the beginning of another.
  const auto is_buffer = [](const std::string& name) {
    return name.ends_with(".running_mean") || name.ends_with(".running_var") ||
           name.ends_with(".num_batches_tracked");
  };
  const auto given =
      std::count_if(weights.begin(), weights.end(), [&](const auto& item) { return !is_buffer(item.first); });
  if (!same || static_cast<size_t>(given) != parameters.size()) return std::nullopt;
  return Json{{"encoder", {{"arch", arch}, {"in_chans", config.in_chans}}},
              {"num_classes", config.num_classes}};
}

}  // namespace lacuna::nn
