#pragma once
// Linear probing: a classifier on frozen features (He et al., CVPR 2022, appendix A.1, "Linear probing").

#include <memory>
#include <vector>

#include "lacuna/core/draws.h"
#include "lacuna/eval/protocol.h"
#include "lacuna/train/optim.h"

namespace lacuna::eval {

/// Sizes of a probe: `dim` features in, `classes` out, and its BatchNorm.
struct ProbeOptions {
  int64_t dim = 0, classes = 0;
  double bn_eps = 1e-6, bn_momentum = 0.1;
  bool bn_affine = false;
};

/// BatchNorm, then a linear layer: the official head.0 and head.1. Several heads are trained side by side on
/// the same features, each at its own learning rate; the batch statistics are theirs in common.
class LinearProbe {
 public:
  /// Weights N(0, 0.01) truncated, biases 0; every head starts from the same draw.
  LinearProbe(const ProbeOptions& options, int64_t heads, Draws& draws);

  /// A name as in the official head ("head.1.weight") -> tensor, shared with the probe.
  io::Tensors parameters(int64_t head) const;
  io::Tensors statistics() const;  ///< head.0.running_mean, head.0.running_var

  /// x [B, D] -> a [B, C] for each head. Training normalises by the batch and moves the running statistics.
  std::vector<Tensor> logits(const Tensor& x, bool training) const;
  /// LARS with one group a head; `lr_scales` holds each head's share of the rate that step() is given.
  std::unique_ptr<train::Optimizer> make_optimizer(const std::vector<double>& lr_scales, double weight_decay,
                                                   double momentum = 0.9, double trust = 0.001) const;
  /// The same with SGD.
  std::unique_ptr<train::Optimizer> make_sgd(const std::vector<double>& lr_scales, double weight_decay) const;
  /// One step at `lr` on x [B, D], y [B]: the heads' losses do not touch each other's weights.
  void train_step(train::Optimizer& optimizer, const Tensor& x, const Tensor& y, double lr) const;

 private:
  struct Head {
    Tensor weight, bias;        // [C, D], [C]
    Tensor bn_weight, bn_bias;  // [D] with bn_affine, else undefined
  };
  std::vector<train::ParamGroup> groups(const std::vector<double>& lr_scales, double weight_decay) const;

  ProbeOptions options_;
  Tensor running_mean_, running_var_;
  std::vector<Head> heads_;
};

/// Row numbers of the training part and of the part that a rate is chosen on.
struct Split {
  Tensor fit, held_out;
};
/// Holds out a tenth of each class by seed, at least one record of a class that has two.
Split split_by_class(const Tensor& labels, uint64_t seed);

/// Trains one head for each base rate on nine tenths of `train`, picks the rate by accuracy, then loss, on
/// the last tenth (held out by seed, class by class) and scores that head on `test`, which has no part in the
/// choice. Metrics: top1, top5 (more than five classes), top1_lr<rate> for each rate, held_out_top1, chance.
Result linear_probe(const Features& train, const Features& test, const EvalConfig& config);

}  // namespace lacuna::eval
