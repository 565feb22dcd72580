#pragma once
// One optimiser step, applied only when its loss and gradient are sound.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/method/method.h"
#include "lacuna/nn/activation_checkpoint.h"
#include "lacuna/nn/autocast.h"
#include "lacuna/train/config.h"
#include "lacuna/train/optim.h"
#include "lacuna/train/processes.h"

namespace lacuna::train {

/// How a forward pass of training is computed: train.precision and train.grad_checkpointing, while it lives.
struct ForwardMode {
  ForwardMode(const TrainConfig& config, torch::DeviceType device);
  nn::Autocast autocast;
  nn::ActivationCheckpointing checkpointing;
};

/// The factor that keeps fp16 gradients from vanishing, as torch.amp.GradScaler moves it: halved when a
/// gradient is not finite, doubled after 2000 sound steps. Part of a checkpoint.
class LossScaler {
 public:
  /// 1 for ever unless the precision is fp16.
  explicit LossScaler(const TrainConfig& config);
  double scale() const { return scale_; }
  /// After a step whose gradients were finite, or not. True when an overflow is no more than a scale too
  /// large: the step is left out and training goes on.
  bool update(bool finite);
  Json to_json() const { return {scale_, good_}; }
  void load(const Json& json);

 private:
  bool active_;
  double scale_;
  int64_t good_ = 0;  ///< sound steps since the scale last moved
};

/// What a step found, applied or not.
struct StepResult {
  double loss = 0, grad_norm = 0;
  std::map<std::string, double> parts, stats;  ///< means over the micro-batches and the processes
  std::string problem;    ///< why the step was not applied: "loss is nan", ...; empty when it was
  bool rescaled = false;  ///< not applied only because fp16 overflowed; the loss scale is now smaller
  bool stop = false;      ///< a signal asked this process, or another one, to stop after this step
};

/// Running median of gradient norms; part of a checkpoint, so that a resumed run judges alike.
class SpikeDetector {
 public:
  explicit SpikeDetector(double factor) : factor_(factor) {}
  /// True when `norm` is more than `factor` times the median of the last norms (once there are enough of
  /// them). Finite norms enter the window either way, so that a lasting change of scale is accepted in the
  /// end.
  bool is_spike(double norm);
  Json to_json() const { return window_; }
  void load(const Json& json) { window_ = json.get<std::vector<double>>(); }

 private:
  double factor_;
  std::vector<double> window_;
};

/// What judges steps and remembers.
struct StepState {
  explicit StepState(const TrainConfig& config, double spike = 0) : spikes(spike), scaler(config) {}
  SpikeDetector spikes;
  LossScaler scaler;
};

/// Forward and backward over `batches` (accumulation: gradients averaged), clipping, update at `rate`. When
/// loss or gradient is not finite, or the norm a spike, weights and optimiser state stay as they were.
/// `averager`: with several processes; all of them then see the same losses and gradients, and do the same.
StepResult take_step(Method& method, Optimizer& optimizer, const std::vector<Batch>& batches,
                     const Rate& rate, const TrainConfig& config, StepState& state,
                     GradientAverager* averager = nullptr);

}  // namespace lacuna::train
