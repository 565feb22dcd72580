#pragma once
// A feature for each pillar, learnt from its points (DynamicScatterVFE of SST, Fan et al., CVPR 2022; after
// Zhou et al., "End-to-end multi-view fusion for 3D object detection in LiDAR point clouds", CoRL 2019).

#include <torch/nn/module.h>

#include <memory>
#include <string>
#include <vector>

#include "lacuna/nn/batch_norm.h"
#include "lacuna/nn/layers.h"
#include "lacuna/nn/voxels.h"

namespace lacuna::nn {

/// Keys `points.*` of the network: what becomes of a pillar's points.
struct PillarEncoderConfig {
  int64_t in_chans = 5;                    ///< fields of a point
  std::vector<int64_t> channels{64, 128};  ///< of each layer
  std::string pool = "max";                ///< max | avg
  double norm_eps = 1e-3, norm_momentum = 0.01;
};

/// Each point: its fields, its distance from the mean of its pillar's points and from the pillar's centre.
/// Layers of linear, batch norm, ReLU and a pool over the pillar, which the next layer reads beside the
/// point's own. Names: vfe_layers.{i}.{linear, norm}.
class PillarEncoder : public torch::nn::Module {
 public:
  explicit PillarEncoder(const PillarEncoderConfig& config);
  void initialize(Draws& draws, const std::string& prefix);
  /// -> [V, channels of the last layer]. Batch statistics are those of all points inside of the grid; of a
  /// single point, which has none, the running ones are used.
  Tensor forward(const Pillars& pillars);

 private:
  struct Layer {
    std::shared_ptr<Linear> linear;
    std::shared_ptr<BatchNorm> norm;
  };
  Tensor pool(const Tensor& points, const Pillars& pillars) const;

  PillarEncoderConfig config_;
  std::vector<Layer> layers_;
};

/// [P, F + 6]: what the first layer reads.
Tensor decorate_points(const Pillars& pillars);

}  // namespace lacuna::nn
