#pragma once
// SALT: Rethinking JEPA: Compute-Efficient Video SSL with Frozen Teachers (Li, Huang, Li, Malach, Susskind,
// Thilak, Littwin; ICLR 2026, arXiv 2509.24317), its first stage V-Pixel, and V-JEPA (Bardes et al., 2024),
// the same network with a moving teacher.

#include <memory>
#include <string>
#include <vector>

#include "lacuna/mask/multiblock.h"
#include "lacuna/method/method.h"
#include "lacuna/nn/ema.h"
#include "lacuna/nn/gather.h"
#include "lacuna/nn/video_vit.h"

namespace lacuna {

/// Keys `loss.*`. A distance is mean |prediction - target|^exp, over exp where `divide` says so.
struct SALTLossConfig {
  std::string norm_pix = "patch_channel";
  double pixel_exp = 2;
  bool pixel_divide = false;
  std::string target_norm = "layer_norm";
  double latent_exp = 1;
  bool latent_divide = true;
  void fields(Fields& f);
};

/// Keys `teacher.*`. Sizes that are not given are the student's.
struct SALTTeacherConfig {
  std::string type = "frozen";
  std::string init;     ///< what the user names
  std::string weights;  ///< plain encoder weights that training reads; made from init by the preparation
  int64_t steps = 0;    ///< of the first stage
  double share = 1.0 / 6;
  std::vector<double> momentum{0.998, 1.0};
  double momentum_scale = 1;
  nn::VideoViTConfig network;
  void fields(Fields& f);
};

/// Keys `stage`, `encoder.*`, `predictor.*`, `mask.*`, `loss.*`, `teacher.*`.
struct SALTConfig : MethodConfig {
  int64_t stage = 2;
  nn::VideoViTConfig encoder;
  nn::VideoPredictorConfig predictor;
  mask::MultiBlockConfig mask;
  SALTLossConfig loss;
  SALTTeacherConfig teacher;
  void fields(Fields& f) override;
  void resolve(const ConfigTable& table) override;
  bool pixels() const { return stage == 1; }
  bool moving_teacher() const { return stage == 2 && teacher.type == "ema"; }
  bool frozen_teacher() const { return stage == 2 && teacher.type == "frozen"; }
};

/// One group's share of a step. B films, K tokens seen, M predicted.
struct SALTPart {
  mask::TokenMasks masks;
  Tensor latent;     ///< [B, K, D]: what the encoder makes of the context
  Tensor predicted;  ///< [B, M, P]: pixels, or the teacher's features
  Tensor target;     ///< [B, M, P]
  Tensor loss;       ///< scalar
};

class SALT : public Method {
 public:
  SALT(const SALTConfig& config, Draws& draws);

  /// Stage 1: the pixels of hidden cubes. Stage 2: the teacher's features there. Mean over the groups of
  /// masks.
  Loss forward(const Batch& batch, Draws& draws) override;
  void prepare_training() override;
  void before_step(const Progress& progress) override { progress_ = progress; }
  void after_step(const Progress& progress) override;
  nn::Ema* ema() override { return ema_.get(); }
  Tensor features(const Batch& batch, const FeatureOptions& options) override;
  Tensor tokens(const Batch& batch) override;
  Preview preview(const Batch& batch, Draws& draws) override;
  InputSpec input() const override;

  const SALTConfig& config() const { return config_; }
  /// Masks of every group, on the video's device.
  std::vector<mask::TokenMasks> draw_masks(const Tensor& video, Draws& draws,
                                           const mask::AgreedLength& agreed = {}) const;
  /// One group's step; `teacher_latent` [B, N, Dt] in stage 2.
  SALTPart part(const Tensor& video, const mask::TokenMasks& masks, int64_t group,
                const Tensor& teacher_latent, Draws* draws) const;
  /// [B, N, Dt] float, no gradient, behind loss.target_norm. Undefined in stage 1.
  Tensor teacher_latent(const Tensor& video) const;
  /// The teacher's network; null in stage 1 and before prepare_training().
  const std::shared_ptr<nn::VideoViT>& teacher() const { return teacher_; }
  /// A frozen teacher of the config's size, with weights of its own drawn: for golden cases.
  std::shared_ptr<nn::VideoViT> make_teacher();

 private:
  void ensure_teacher();

  SALTConfig config_;
  std::vector<mask::MultiBlockGroup> groups_;
  std::shared_ptr<nn::VideoViT> encoder_;
  std::shared_ptr<nn::VideoPredictor> predictor_;
  std::shared_ptr<nn::VideoViT> teacher_;
  std::shared_ptr<nn::RowGather> gather_;  ///< by which processes agree on the length of lists
  std::unique_ptr<nn::Ema> ema_;
  Progress progress_;
};

}  // namespace lacuna
