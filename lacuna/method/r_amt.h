#pragma once
// R-AMT: Regularized Mask Tuning: Uncovering Hidden Knowledge in Pre-trained Vision-Language Models (Zheng,
// Wu, Feng, Zhu, Liu, Zhao, Zha, Chen, Shen; ICCV 2023, arXiv 2307.15049).

#include <memory>
#include <string>
#include <vector>

#include "lacuna/method/method.h"
#include "lacuna/nn/clip.h"
#include "lacuna/nn/gather.h"
#include "lacuna/nn/weight_mask.h"

namespace lacuna {

/// Keys `mask.*`: which weights get a score, and how it becomes a bit.
struct RAmtMaskConfig {
  std::vector<std::string> modules{"conv1", "attn"};
  std::vector<int64_t> layers;  ///< empty: all blocks
  std::string init = "ones";    ///< ones: all scale | uniform: U(0, scale)
  double scale = 0.01, threshold = 0.005;
  void fields(Fields& f);
};

/// Keys `loss.*`.
struct RAmtLossConfig {
  double mask_weight = 1e-4;  ///< of the scores' norms; 0: off
  double gdr_lambda = 1;      ///< 0: no gradient dropout, and no distillation
  double gdr_temperature = 1;
  double fuse_alpha = 1;
  void fields(Fields& f);
};

/// Keys `head.*`: classes are rows of the text features.
struct RAmtHeadConfig {
  int64_t num_classes = 0;               ///< 0: those of the data
  std::string classes = "all";           ///< that are told apart: all | base | new (data::class_range)
  std::vector<std::string> class_names;  ///< empty: those of the data
  void fields(Fields& f);
};

/// Keys `base.*`: the CLIP that is masked, and what its text tower is asked.
struct RAmtBaseConfig {
  std::string weights;
  std::vector<std::string> templates{"a photo of a {}."};
  std::string template_mean = "features";
  std::vector<std::string> settings;  ///< of the CLIP that is trained first; empty: none is
  void fields(Fields& f);
};

struct RAmtConfig : MethodConfig {
  std::string tune = "masks";  ///< masks | head | tower
  nn::ClipVisionConfig encoder;
  int64_t dim = 512;  ///< key projection.dim
  RAmtMaskConfig mask;
  RAmtLossConfig loss;
  RAmtHeadConfig head;
  RAmtBaseConfig base;
  void fields(Fields& f) override;
  void resolve(const ConfigTable& table) override;
};

/// The two losses of one batch and what they are made of. B pictures, C classes.
struct RAmtObjectives {
  Tensor features;                ///< [B, E] of the masked tower, normalised
  Tensor logits, teacher_logits;  ///< [B, C]
  Tensor main, mask;              ///< cross-entropy; weighted norms of the scores (undefined: none)
  Tensor task;                    ///< main + mask
  Tensor kl;                      ///< distillation towards the unmasked tower
};

/// Gradient dropout: (1 - lambda + lambda 1[P > u]) task, with P = (sign(task) (task + kl) / (|task| + |kl| +
/// 1e-8) + 1) / 2, element by element.
Tensor drop_gradient(const Tensor& task, const Tensor& kl, const Tensor& u, double lambda);

/// A frozen image tower (visual.*, logit_scale), frozen text features [C, E] and trained scores.
class RAmt : public Method {
 public:
  RAmt(const RAmtConfig& config, Draws& draws);

  /// The cross-entropy's value; its gradient is the one that gradient dropout leaves. Of several processes,
  /// gradients are averaged before they are dropped.
  Loss forward(const Batch& batch, Draws& draws) override;
  /// The masked tower's vectors, not normalised.
  Tensor features(const Batch& batch, const FeatureOptions& options) override;
  Tensor tokens(const Batch& batch) override;
  Preview preview(const Batch& batch, Draws& draws) override;
  InputSpec input() const override { return {config_.encoder.in_chans, config_.encoder.img_size}; }
  bool decays(const std::string& /*name*/, const Tensor& /*parameter*/) const override { return true; }
  /// Packed bits become scores of 0 and 1.
  std::map<std::string, Tensor> adapt(std::map<std::string, Tensor> weights,
                                      const Json& source) const override;

  const RAmtConfig& config() const { return config_; }
  nn::WeightMasks& masks() const { return *masks_; }
  const nn::ClipVision& visual() const { return *visual_; }
  /// Loss terms for classes `text` [C, E] (normalised rows); `distil`: with the teacher's.
  RAmtObjectives objectives(const Tensor& image, const Tensor& label, const Tensor& text, bool distil) const;
  /// [B, C] of the masked (or, for comparison, the unmasked) tower.
  Tensor logits(const Tensor& image, const Tensor& text, bool masked = true) const;
  /// Masks drawn anew by `seed` of the same number of bits in each tensor, for comparison.
  void shuffle_masks(uint64_t seed);
  /// Rows of the text features that stand for config().head.classes.
  Tensor candidates() const;
  const Tensor& text_features() const { return text_features_; }

 private:
  uint64_t step_seed(Draws& draws) const;

  RAmtConfig config_;
  std::shared_ptr<nn::ClipVision> visual_;
  std::shared_ptr<nn::WeightMasks> masks_;
  std::shared_ptr<nn::RowGather> gather_;
  Tensor logit_scale_, text_features_;
};

}  // namespace lacuna
