#pragma once
// One optimiser step, applied only when its loss and gradient are sound.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/method/method.h"
#include "lacuna/train/config.h"
#include "lacuna/train/optim.h"
#include "lacuna/train/processes.h"

namespace lacuna::train {

/// Mixed precision for a forward pass: matrix products in bf16, weights and sums in fp32 (torch.autocast).
class Autocast {
 public:
  Autocast(bool enabled, torch::DeviceType device);
  ~Autocast();
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  bool enabled_;
  torch::DeviceType device_;
};

/// What a step found, applied or not.
struct StepResult {
  double loss = 0, grad_norm = 0;
  std::map<std::string, double> parts, stats;  ///< means over the micro-batches and the processes
  std::string problem;  ///< why the step was not applied: "loss is nan", ...; empty when it was
  bool stop = false;    ///< a signal asked this process, or another one, to stop after this step
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

/// Forward and backward over `batches` (accumulation: gradients averaged), clipping, update at `rate`. When
/// loss or gradient is not finite, or the norm a spike, weights and optimiser state stay as they were.
/// `averager`: with several processes; all of them then see the same losses and gradients, and do the same.
StepResult take_step(Method& method, Optimizer& optimizer, const std::vector<Batch>& batches,
                     const Rate& rate, const TrainConfig& config, SpikeDetector& spikes,
                     GradientAverager* averager = nullptr);

}  // namespace lacuna::train
