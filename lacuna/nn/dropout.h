#pragma once

#include <string>

#include <torch/types.h>

#include "lacuna/core/draws.h"

namespace lacuna::nn {

/// Each value is 0 with probability `rate`, else divided by 1 - rate. x [B, ...], a sample a row; `name`
/// names the draw. Identity when `draws` is null or the rate 0.
inline torch::Tensor dropout(const torch::Tensor& x, double rate, const std::string& name, Draws* draws) {
  if (draws == nullptr || rate <= 0) return x;
  const auto kept = draws->uniform(name, x.sizes()).ge(rate).to(x.device());
  return x * kept.to(x.scalar_type()).div_(1 - rate);
}

}  // namespace lacuna::nn
