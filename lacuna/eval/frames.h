#pragma once
// Protocols that look at a signal's frames: what they share.

#include <functional>

#include "lacuna/eval/protocol.h"

namespace lacuna::eval {

/// Calls `use` for each batch of `dataset`, in order, with all layers of its frames (Method::frames). Error
/// when no record can be read.
void read_frames(const Model& model, std::shared_ptr<data::Dataset> dataset, const EvalConfig& config,
                 const std::function<void(const Batch&, const Frames&)>& use);
/// Samples from one frame to the next; Error for a method whose frames have none.
int64_t frame_stride(const Method& method);
/// Those of probe.layers, or all of `count`; Error naming one that is not there.
std::vector<int64_t> chosen_layers(const ProbeConfig& config, int64_t count);

/// Records of layers averaged over their frames.
struct PooledLayers {
  Tensor features;  ///< [N, L, D] float32, the chosen layers alone
  Tensor labels;    ///< [N] int64
  std::vector<int64_t> layers;
};
/// Of the records that have a label; Error naming `role` when none has.
PooledLayers pooled_layers(const Model& model, std::shared_ptr<data::Dataset> dataset,
                           const EvalConfig& config, const std::string& role);

/// SUPERB's utterance classification on frozen features (Yang et al., Interspeech 2021): a learnt
/// softmax-weighted sum of layers, a projection to probe.width, the mean over time, a linear classifier. Adam
/// at each of probe.lr; a held-out tenth of `train` picks the rate. Metrics: top1, held_out_top1, chance, and
/// weight_LAYER, the layers' shares.
Result weighted_layers(const PooledLayers& train, const PooledLayers& test, const EvalConfig& config);

/// First and second moments of features X [n, D] and targets Y [n, M]: all that least squares needs.
class Moments {
 public:
  void add(const Tensor& x, const Tensor& y);  ///< any float type; kept as float64
  int64_t count() const { return count_; }
  /// Weights [D, M] and offset [M] of least |Y - X W - b|^2 + penalty |W|^2 (the offset is free), float64.
  struct Fit {
    Tensor weight, offset;
  };
  Fit ridge(double penalty) const;
  /// Sum of the squared errors of `fit`, and of the mean of Y.
  double error(const Fit& fit) const;
  double spread() const;
  int64_t targets() const { return y_.size(0); }

 private:
  int64_t count_ = 0;
  Tensor x_, y_, xx_, xy_, yy_;  // sums; yy_ [M]
};

}  // namespace lacuna::eval
