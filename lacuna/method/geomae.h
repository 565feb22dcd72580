#pragma once
// GeoMAE: Masked Geometric Target Prediction for Self-supervised Point Cloud Pre-Training (Tian, Ran, Wang,
// Zhao; CVPR 2023, arXiv 2305.08808).

#include <memory>
#include <string>
#include <vector>

#include "lacuna/mask/pillars.h"
#include "lacuna/method/method.h"
#include "lacuna/nn/gather.h"
#include "lacuna/nn/pillar_encoder.h"
#include "lacuna/nn/sst.h"
#include "lacuna/target/geometry.h"

namespace lacuna {

/// Keys `encoder.*`: what becomes of a pillar's points, and the transformer over pillars.
struct GeoMAEEncoderConfig {
  int64_t in_chans = 5;
  std::vector<int64_t> point_channels{64, 128};
  std::string pool = "max";
  double norm_eps = 1e-3, norm_momentum = 0.01;
  int64_t embed_dim = 128, depth = 6, num_heads = 8, mlp_dim = 256;
  std::string activation = "gelu";
  std::vector<int64_t> window{12, 12};  ///< x, y
  double pos_temperature = 10000;
  bool normalize_pos = false;
  std::vector<int64_t> level_tokens, level_below;  ///< empty: windows of equally many pillars together
  void fields(Fields& f);
};

/// Keys `decoder.*`.
struct GeoMAEDecoderConfig {
  int64_t depth = 2;
  void fields(Fields& f);
};

/// Keys `target.*`.
struct GeoMAETargetConfig {
  bool curvature = false;
  std::string normal_sign = "sensor";  ///< sensor | up | as-is
  void fields(Fields& f);
};

/// Keys `loss.*`: weights; 0 leaves the term out.
struct GeoMAELossConfig {
  double centroid_low = 10, centroid_med = 8, centroid_top = 10;
  double normal = 4, curvature = 4;
  double occupied_low = 5, occupied_med = 2;
  void fields(Fields& f);
};

struct GeoMAEConfig : MethodConfig {
  nn::VoxelConfig voxel;
  GeoMAEEncoderConfig encoder;
  GeoMAEDecoderConfig decoder;
  mask::PillarMaskConfig mask;
  GeoMAETargetConfig target;
  GeoMAELossConfig loss;
  void fields(Fields& f) override;
  void resolve(const ConfigTable& table) override;
  nn::SstConfig sst() const;
};

/// Windows of below[i-1] .. below[i]-1 tokens have tokens[i] places.
std::vector<nn::WindowLevel> window_levels(const std::vector<int64_t>& tokens,
                                           const std::vector<int64_t>& below);

/// What is said of H hidden pillars; S low parts, M medium ones.
struct GeoMAEPrediction {
  Tensor low, med, top;               ///< [H, S, 3], [H, M, 3], [H, 3]: centroids
  Tensor normal;                      ///< [H, 3]
  Tensor curvature;                   ///< [H, 3]; undefined unless target.curvature
  Tensor occupied_low, occupied_med;  ///< [H, S, 2], [H, M, 2]: logits of empty, occupied
};

/// What is to be said of them. Centroids of occupied parts alone, in the order of `place`.
struct GeoMAETarget {
  target::SubVoxels low, med;
  Tensor top;                ///< [H, 3]
  Tensor normal, curvature;  ///< [H, 3]
  Tensor gap;                ///< [H]: target::Surface::gap
};

/// Processes count by their hidden pillars; the terms of parts are means over occupied parts. Times these, a
/// process's mean is its share of the mean over the parts of all processes. 1 for one process.
struct GeoMAEShares {
  double low = 1, med = 1;
};

/// Encoder and decoders over pillars, under the official names (those of "backbone").
class GeoMAEBackbone : public torch::nn::Module {
 public:
  explicit GeoMAEBackbone(const GeoMAEConfig& config);
  void initialize(Draws& draws, const std::string& prefix);
  /// features [N, D], coords [N, 4] -> [N, D].
  Tensor encode(const Tensor& features, const Tensor& coords) const;
  /// encoded [K, D] of pillars at `visible` [K, 4] -> what is predicted of those at `hidden` [H, 4].
  GeoMAEPrediction decode(const Tensor& encoded, const Tensor& visible, const Tensor& hidden) const;

 private:
  std::shared_ptr<nn::Linear> head(const std::string& name, int64_t values);

  nn::SstConfig sst_;
  int64_t low_, med_;
  Tensor mask_token_;
  std::shared_ptr<nn::SstStack> encoder_, centroid_, density_;
  std::vector<std::pair<std::string, std::shared_ptr<nn::Linear>>> heads_;
  std::shared_ptr<nn::Linear> low_head_, med_head_, top_head_, normal_head_, curvature_head_,
      occupied_low_head_, occupied_med_head_;
};

/// The method: clouds of points in, a loss out.
class GeoMAE : public Method {
 public:
  GeoMAE(const GeoMAEConfig& config, Draws& draws);

  Loss forward(const Batch& batch, Draws& draws) override;
  /// Mean and maximum of the encoded pillars side by side (pool avg: the mean alone); 0 for a cloud without
  /// pillars.
  Tensor features(const Batch& batch, const FeatureOptions& options) override;
  Preview preview(const Batch& batch, Draws& draws) override;
  InputSpec input() const override;
  bool decays(const std::string& name, const Tensor& parameter) const override;
  int64_t layers() const override { return config_.encoder.depth + 2; }
  int64_t layer_of(const std::string& name) const override;

  const GeoMAEConfig& config() const { return config_; }
  GeoMAEBackbone& backbone() { return *backbone_; }
  nn::Pillars pillars(const Batch& batch) const;
  /// [V, D]: of all pillars, hidden ones too.
  Tensor pillar_features(const nn::Pillars& pillars);
  /// [V, D]: what the encoder makes of all pillars.
  Tensor encoded(const nn::Pillars& pillars);
  mask::PillarMask draw_mask(const Batch& batch, const nn::Pillars& pillars, Draws& draws) const;
  /// Of the pillars that are hidden.
  GeoMAEPrediction predict(const nn::Pillars& clouds, const mask::PillarMask& drawn);
  GeoMAETarget targets(const nn::Pillars& pillars, const Tensor& hidden) const;
  Loss loss(const GeoMAEPrediction& predicted, const GeoMAETarget& target,
            const GeoMAEShares& shares = {}) const;

 private:
  void show_prediction(const nn::Pillars& clouds, const Tensor& hidden, const GeoMAEPrediction& predicted,
                       Preview& out) const;
  /// Asks all processes: each must call it.
  GeoMAEShares shares_of(const GeoMAETarget& target) const;

  GeoMAEConfig config_;
  nn::VoxelGrid grid_;
  std::shared_ptr<nn::PillarEncoder> points_;
  std::shared_ptr<GeoMAEBackbone> backbone_;
  std::shared_ptr<nn::RowGather> gather_;  ///< by which processes tell each other how many parts they have
};

}  // namespace lacuna
