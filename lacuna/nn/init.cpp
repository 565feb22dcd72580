#include "lacuna/nn/init.h"

#include <cmath>
#include <numbers>

#include "lacuna/core/torch.h"
#include "lacuna/nn/layers.h"

namespace lacuna::nn {

void uniform_(const torch::Tensor& parameter, double bound, Draws& draws, std::string_view name) {
  const torch::NoGradGuard no_grad;
  parameter.copy_(draws.uniform(name, parameter.sizes()).mul_(2 * bound).sub_(bound));
}

void normal_(const torch::Tensor& parameter, double std, Draws& draws, std::string_view name) {
  const torch::NoGradGuard no_grad;
  parameter.copy_(draws.normal(name, parameter.sizes()).mul_(std));
}

void trunc_normal_(const torch::Tensor& parameter, double std, Draws& draws, std::string_view name,
                   double bound) {
  constexpr double kFar = 5;  // deviations beyond which a cut is not seen in float32 draws
  if (bound > kFar * std) return normal_(parameter, std, draws, name);
  const torch::NoGradGuard no_grad;
  const double edge = std::erf(bound / std / std::numbers::sqrt2);  // probability mass within the bounds
  const auto u = draws.uniform(name, parameter.sizes()).mul_(2 * edge).sub_(edge);
  parameter.copy_(u.erfinv_().mul_(std * std::numbers::sqrt2).clamp_(-bound, bound));
}

void default_conv_init_(const torch::Tensor& weight, const torch::Tensor& bias, Draws& draws,
                        const std::string& name) {
  const double bound = 1 / std::sqrt(static_cast<double>(weight.numel() / weight.size(0)));
  uniform_(weight, bound, draws, name + ".weight");
  if (bias.defined()) uniform_(bias, bound, draws, name + ".bias");
}

void xavier_uniform_(const torch::Tensor& parameter, Draws& draws, std::string_view name) {
  const auto fan_out = parameter.size(0), fan_in = parameter.numel() / parameter.size(0);
  uniform_(parameter, std::sqrt(6.0 / static_cast<double>(fan_in + fan_out)), draws, name);
}

void initialize_linears(torch::nn::Module& module, Draws& draws, const std::string& name) {
  for (const auto& child : module.named_modules(name))
    if (const auto linear = std::dynamic_pointer_cast<Linear>(child.value()))
      xavier_uniform_(linear->weight, draws, child.key() + ".weight");
}

}  // namespace lacuna::nn
