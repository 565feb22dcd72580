#include "lacuna/nn/ema.h"

#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/_foreach_lerp.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna::nn {

namespace {

NamedTensors copies_of(const NamedTensors& source) {
  NamedTensors out;
  for (const auto& [name, tensor] : source) out[name] = tensor.detach().clone();
  return out;
}

}  // namespace

double ema_ramp(double from, double to, double t, double length) {
  return t < length ? from + t / length * (to - from) : to;
}

double ema_cosine(double from, double to, double done) {
  return to - (to - from) * (1 + std::cos(std::numbers::pi * std::clamp(done, 0.0, 1.0))) / 2;
}

double ema_warmup(double decay, int64_t update) {
  return std::min(decay, 1 - std::pow(static_cast<double>(update), -2.0 / 3));
}

Ema::Ema(const NamedTensors& source) : Ema(source, copies_of(source)) {}

Ema::Ema(const NamedTensors& source, const NamedTensors& average) : average_(average) {
  LACUNA_ASSERT(source.size() == average.size());
  for (const auto& [name, slow] : average_) {
    const auto& fast = source.at(name);
    LACUNA_ASSERT(slow.sizes() == fast.sizes() && slow.scalar_type() == fast.scalar_type());
    const bool averaged = slow.is_floating_point();
    (averaged ? slow_ : copies_).push_back(slow);
    (averaged ? fast_ : copied_).push_back(fast);
  }
}

// lerp and not a product and a sum: what is equal stays equal to the bit (fixed tables), in one pass.
void Ema::update(double decay) {
  const torch::NoGradGuard no_grad;
  if (!slow_.empty()) at::_foreach_lerp_(slow_, fast_, 1 - decay);
  if (!copies_.empty()) at::_foreach_copy_(copies_, copied_);
}

void Ema::restart() { update(0); }

}  // namespace lacuna::nn
