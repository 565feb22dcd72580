#pragma once
// Exponential moving averages of weights: teachers, and the averaged weights that a run keeps beside its own
// (Polyak & Juditsky, 1992; timm's ModelEma).

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "lacuna/nn/weights.h"

namespace lacuna::nn {

/// Decay that moves linearly from `from` at t = 0 to `to` at t = length and stays there. HPM sets it so by
/// the epoch (0.999 to 0.9999 over 100), I-JEPA by the step over the whole run.
double ema_ramp(double from, double to, double t, double length);
/// to - (to - from) (1 + cos(pi done)) / 2, `done` the share of the training that is over (BYOL, Grill et
/// al., NeurIPS 2020, with to = 1).
double ema_cosine(double from, double to, double done);
/// timm's ModelEmaV3 with use_warmup: min(decay, 1 - update^-2/3) for the update-th update, counted from 1,
/// so that the first one copies.
double ema_warmup(double decay, int64_t update);

/// The moving average of named tensors: parameters and buffers alike, as timm keeps them; what is no floating
/// point number (counters) is copied. Holds handles, which stay valid when a module moves to another device.
class Ema {
 public:
  /// Averages `source` into copies of its own, which start as `source` is now.
  explicit Ema(const NamedTensors& source);
  /// Averages `source` into `average`: tensors of the same names and shapes that belong to a teacher. They
  /// are left as they are; restart() makes them equal.
  Ema(const NamedTensors& source, const NamedTensors& average);

  /// average = decay * average + (1 - decay) * source, in place.
  void update(double decay);
  /// average = source.
  void restart();
  const NamedTensors& average() const { return average_; }

 private:
  NamedTensors average_;
  std::vector<torch::Tensor> slow_, fast_;      ///< floating point: averages and their sources
  std::vector<torch::Tensor> copies_, copied_;  ///< the others
};

}  // namespace lacuna::nn
