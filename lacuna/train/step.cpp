#include "lacuna/train/step.h"

#include <ATen/autocast_mode.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/train/signals.h"

namespace lacuna::train {

namespace {

constexpr size_t kWindow = 64, kEnough = 16;

void add_scalars(const std::map<std::string, Tensor>& from, double weight,
                 std::map<std::string, double>& to) {
  for (const auto& [name, value] : from) to[name] += weight * value.item<double>();
}

std::string unsound(const StepResult& result, SpikeDetector& spikes) {
  if (!std::isfinite(result.loss)) return str("loss is ", result.loss);
  if (!std::isfinite(result.grad_norm)) return str("gradient norm is ", result.grad_norm);
  if (spikes.is_spike(result.grad_norm)) return str("gradient norm ", result.grad_norm, " is a spike");
  return "";
}

/// One message a step: the numbers that are logged, whether to stop, and the sum of the losses' weights.
void average(StepResult& result, double& weight, Processes& processes) {
  std::vector<double> values{result.loss, result.stop ? 1.0 : 0.0, weight};
  for (const auto* numbers : {&result.parts, &result.stats})
    for (const auto& [name, value] : *numbers) values.push_back(value);
  processes.mean(values);
  auto next = values.begin();
  result.loss = *next++;
  result.stop = *next++ > 0;
  weight = *next++;
  for (auto* numbers : {&result.parts, &result.stats})
    for (auto& [name, value] : *numbers) value = *next++;
}

/// Sums of weighted losses become means: `weight` is the mean over the processes of the sum of their weights.
void divide_by_weight(StepResult& result, const std::vector<ParamGroup>& groups, double weight) {
  result.loss /= weight;
  for (auto* numbers : {&result.parts, &result.stats})
    for (auto& [name, value] : *numbers) value /= weight;
  for (const auto& group : groups)
    for (const auto& parameter : group.params)
      if (parameter.grad().defined()) parameter.grad().div_(weight);
}

}  // namespace

Autocast::Autocast(bool enabled, torch::DeviceType device) : enabled_(enabled), device_(device) {
  if (!enabled_) return;
  at::autocast::set_autocast_enabled(device_, true);
  at::autocast::set_autocast_dtype(device_, torch::kBFloat16);
  at::autocast::increment_nesting();
}

Autocast::~Autocast() {
  if (!enabled_) return;
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(device_, false);
}

bool SpikeDetector::is_spike(double norm) {
  bool spike = false;
  if (factor_ > 0 && window_.size() >= kEnough) {
    auto sorted = window_;
    std::nth_element(sorted.begin(), sorted.begin() + sorted.size() / 2, sorted.end());
    spike = norm > factor_ * sorted[sorted.size() / 2];
  }
  window_.push_back(norm);
  if (window_.size() > kWindow) window_.erase(window_.begin());
  return spike;
}

StepResult take_step(Method& method, Optimizer& optimizer, const std::vector<Batch>& batches,
                     const Rate& rate, const TrainConfig& config, SpikeDetector& spikes,
                     GradientAverager* averager) {
  StepResult result;
  const double alike = 1.0 / static_cast<double>(batches.size());
  double weights = 0;
  optimizer.zero_grad();
  for (const auto& batch : batches) {
    SeededDraws draws(static_cast<uint64_t>(config.seed), 0, batch.sample);
    Loss loss;
    {
      const Autocast autocast(config.precision == "bf16", batch.device().type());
      loss = method.forward(batch, draws);
    }
    const double weight = loss.weight > 0 ? loss.weight : alike;
    weights += loss.weight;
    result.loss += weight * loss.total.item<double>();
    add_scalars(loss.parts, weight, result.parts);
    for (const auto& [name, value] : loss.stats) result.stats[name] += weight * value;
    const auto share = weight != 1 ? loss.total * weight : loss.total;
    if (averager != nullptr) {
      averager->backward(share, /*last=*/&batch == &batches.back());  // the others wait, whatever the loss
    } else {
      if (!std::isfinite(result.loss)) break;
      share.backward();
    }
  }
  result.stop = SignalGuard::requested();
  if (averager != nullptr) average(result, weights, averager->processes());
  if (weights > 0) divide_by_weight(result, optimizer.groups(), weights);
  result.grad_norm = std::isfinite(result.loss) ? gradient_norm(optimizer.groups()) : NAN;
  result.problem = unsound(result, spikes);
  if (!result.problem.empty()) return result;
  if (config.clip_grad > 0) clip_gradients(optimizer.groups(), result.grad_norm, config.clip_grad);
  optimizer.step(rate);
  return result;
}

}  // namespace lacuna::train
