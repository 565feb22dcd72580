#pragma once
// HPM: Hard Patches Mining for Masked Image Modeling (Wang, Song, Fan, Wang, Xie, Zhang; CVPR 2023, arXiv
// 2304.05919; extended in arXiv 2312.13714).

#include <memory>
#include <string>

#include "lacuna/mask/hard.h"
#include "lacuna/method/method.h"
#include "lacuna/nn/decoder.h"
#include "lacuna/nn/ema.h"
#include "lacuna/nn/vit.h"
#include "lacuna/target/teacher.h"

namespace lacuna {

/// Keys `loss.*`.
struct HPMLossConfig {
  std::string type = "mse";
  std::string target = "pixel";
  bool norm_pix = false;
  std::string learn = "relative";
  std::string teacher;  ///< weights of a dino or clip teacher
  void fields(Fields& f);
};

/// Keys `teacher.*`: the momentum copy that predicts losses.
struct HPMTeacherConfig {
  double decay = 0.999, final_decay = 0.9999, ramp_epochs = 100;
  void fields(Fields& f);
};

/// Keys `encoder.*`, `decoder.*`, `mask.*`, `loss.*`, `teacher.*`.
struct HPMConfig : MethodConfig {
  nn::ViTConfig encoder;
  nn::DecoderConfig decoder;
  mask::HardConfig mask;
  HPMLossConfig loss;
  HPMTeacherConfig teacher;
  void fields(Fields& f) override;
  void resolve(const ConfigTable& table) override;
  bool learns() const { return loss.learn != "none"; }  ///< whether there is a loss predictor
  int64_t patches() const { return encoder.grid().area(); }
  int64_t hidden() const { return patches() - mask::kept_patches(patches(), mask.ratio); }
};

/// Student and teacher alike: MAE's encoder, and two decoders that read the same tokens. Names: MAE's,
/// decoder_{blocks,norm,pred}_losspred.*, vis_mask_token [1, 1, D] with a secondary mask.
/// B pictures, L patches, K of them visible, D and Dd the widths of encoder and decoder.
class HPMNetwork : public torch::nn::Module {
 public:
  explicit HPMNetwork(const HPMConfig& config);
  void initialize(Draws& draws);

  /// [B, 1+K, D]: class token, visible patches in the shuffle's order, after the final norm. `draws` as in
  /// training (drop path), or null; the secondary mask is drawn from `blank_draws`, null: nothing is blanked.
  Tensor encode(const Tensor& image, const mask::Shuffle& shuffle, Draws* draws, Draws* blank_draws) const;
  /// [B, 1+L, D] of the whole picture.
  Tensor encode_all(const Tensor& image) const { return encoder_->forward_features(image); }
  /// [B, 1+L, Dd]: what both decoders read, patches in the order given.
  Tensor decoder_tokens(const Tensor& latent, const Tensor& order) const;
  /// Of the patches behind the first `skip`, in the order of the tokens: the reconstruction, [B, L-skip, P]
  /// ...
  Tensor reconstruct(const Tensor& tokens, int64_t skip) const;
  /// ... and the predicted loss, [B, L-skip].
  Tensor predict_loss(const Tensor& tokens, int64_t skip) const;
  const nn::ViT& encoder() const { return *encoder_; }

 private:
  mask::HardConfig mask_;
  std::shared_ptr<nn::ViT> encoder_;
  std::shared_ptr<nn::DecoderInput> decoder_input_;
  std::shared_ptr<nn::DecoderStack> decoder_, losspred_;  ///< losspred_ null: no loss predictor
  Tensor vis_mask_token_;
};

/// The predictor learns which of two hidden patches has the larger loss, or, "absolute", the
/// loss itself, standardised picture by picture. predicted, truth [B, Lm]; `truth` gets no gradient. Scalar.
Tensor ranking_loss(const Tensor& predicted, const Tensor& truth);
Tensor regression_loss(const Tensor& predicted, const Tensor& truth);

class HPM : public Method {
 public:
  HPM(const HPMConfig& config, Draws& draws);

  /// Reconstruction of the hidden patches plus the learning of their losses; what is hidden follows the
  /// teacher's prediction for the whole picture.
  Loss forward(const Batch& batch, Draws& draws) override;
  void prepare_training() override;
  void before_step(const Progress& progress) override { progress_ = progress; }
  void after_step(const Progress& progress) override;
  nn::Ema* ema() override { return ema_.get(); }
  Tensor features(const Batch& batch, const FeatureOptions& options) override;
  Tensor tokens(const Batch& batch) override;
  Preview preview(const Batch& batch, Draws& draws) override;
  InputSpec input() const override { return {config_.encoder.in_chans, config_.encoder.img_size}; }

  const HPMConfig& config() const { return config_; }
  const HPMNetwork& student() const { return *student_; }
  /// [B, L] in raster order: the loss that the teacher, which sees the whole picture, expects of each patch.
  Tensor teacher_loss(const Tensor& image) const;
  mask::Shuffle draw_mask(const Tensor& image, Draws& draws) const;
  /// [B, L-K] of hidden patches in the shuffle's order, given their reconstruction [B, L-K, P].
  Tensor patch_loss(const Tensor& image, const mask::Shuffle& shuffle, const Tensor& prediction);
  double decay() const;  ///< of the teacher, in the epoch of the step under way

 private:
  int64_t hard_count() const;
  Tensor feature_target(const Tensor& image);

  HPMConfig config_;
  std::shared_ptr<HPMNetwork> student_, teacher_;
  std::unique_ptr<nn::Ema> ema_;
  std::unique_ptr<target::Teacher> feature_teacher_;  ///< of a dino or clip target; null until it is needed
  Progress progress_;
};

}  // namespace lacuna
