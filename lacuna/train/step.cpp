#include "lacuna/train/step.h"

#include <algorithm>
#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/train/signals.h"

namespace lacuna::train {

namespace {

constexpr size_t kWindow = 64, kEnough = 16;
constexpr int64_t kGrowthInterval = 2000;  // of torch.amp.GradScaler

std::optional<torch::ScalarType> compute_type(const TrainConfig& config) {
  if (config.precision == "bf16") return torch::kBFloat16;
  if (config.precision == "fp16") return torch::kHalf;
  return std::nullopt;
}

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

ForwardMode::ForwardMode(const TrainConfig& config, torch::DeviceType device)
    : autocast(compute_type(config), device), checkpointing(config.grad_checkpointing) {}

LossScaler::LossScaler(const TrainConfig& config)
    : active_(config.precision == "fp16"), scale_(active_ ? config.loss_scale : 1) {}

bool LossScaler::update(bool finite) {
  if (!active_) return false;
  if (finite) {
    if (++good_ == kGrowthInterval) scale_ *= 2, good_ = 0;
    return false;
  }
  good_ = 0;
  if (scale_ <= 1) return false;
  scale_ = std::max(1.0, scale_ / 2);
  return true;
}

void LossScaler::load(const Json& json) {
  if (!active_) return;
  scale_ = json.at(0).get<double>();
  good_ = json.at(1).get<int64_t>();
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
                     const Rate& rate, const TrainConfig& config, StepState& state,
                     GradientAverager* averager) {
  StepResult result;
  const double alike = 1.0 / static_cast<double>(batches.size());
  double weights = 0;
  optimizer.zero_grad();
  for (const auto& batch : batches) {
    SeededDraws draws(static_cast<uint64_t>(config.seed), 0, batch.sample);
    Loss loss;
    {
      const ForwardMode mode(config, batch.device().type());
      loss = method.forward(batch, draws);
    }
    const double weight = loss.weight > 0 ? loss.weight : alike;
    weights += loss.weight;
    result.loss += weight * loss.total.item<double>();
    add_scalars(loss.parts, weight, result.parts);
    for (const auto& [name, value] : loss.stats) result.stats[name] += weight * value;
    const double factor = weight * state.scaler.scale();
    const auto share = factor == 1 ? loss.total : loss.total * factor;
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
  if (state.scaler.scale() != 1) scale_gradients(optimizer.groups(), 1 / state.scaler.scale());
  result.grad_norm = std::isfinite(result.loss) ? gradient_norm(optimizer.groups()) : NAN;
  if (std::isfinite(result.loss)) result.rescaled = state.scaler.update(std::isfinite(result.grad_norm));
  if (result.rescaled) return result;
  result.problem = unsound(result, state.spikes);
  if (!result.problem.empty()) return result;
  if (config.clip_grad > 0 && config.clip_by == "part")
    clip_gradients_by_part(optimizer.groups(), config.clip_grad,
                           [&](const std::string& name) { return method.part_of(name); });
  else if (config.clip_grad > 0)
    clip_gradients(optimizer.groups(), result.grad_norm, config.clip_grad);
  optimizer.step(rate);
  return result;
}

}  // namespace lacuna::train
