#pragma once
// Exploring Prediction Targets in Masked Pre-Training for Speech Foundation Models (Chen, Higuchi, Bai,
// Abdelaziz, Watanabe, Rudnicky, Likhomanenko, Theobald, Aldeneh; 2024, arXiv 2409.10788): HuBERT (Hsu et
// al., 2021, arXiv 2106.07447), whose labels may be those of several layers or of a residual quantiser.

#include <memory>
#include <string>
#include <vector>

#include "lacuna/mask/span.h"
#include "lacuna/method/method.h"
#include "lacuna/nn/hubert.h"
#include "lacuna/target/factory.h"

namespace lacuna {

/// Keys `predictor.*`.
struct SpeechPredictorConfig {
  int64_t final_dim = 256;
  bool untie = true;
  double logit_temp = 0.1;
  bool target_glu = false;
  void fields(Fields& f);
};

/// Keys `loss.*`.
struct SpeechLossConfig {
  double masked_weight = 1, unmasked_weight = 0;
  double features_pen = 10;
  bool mean_over_sets = false;
  void fields(Fields& f);
};

/// Masks over channels: off unless a recipe or fine-tuning asks for them.
mask::SpanConfig no_channel_mask();

/// Keys `encoder.*`, `mask.*`, `channel_mask.*`, `predictor.*`, `loss.*`, `target.*`.
struct SpeechTargetsConfig : MethodConfig {
  nn::HubertConfig encoder;
  mask::SpanConfig mask, channel_mask = no_channel_mask();
  SpeechPredictorConfig predictor;
  SpeechLossConfig loss;
  target::TargetConfig target;
  double label_rate = 100;  ///< frame labels a second
  int64_t sample_rate = 16000;
  void fields(Fields& f) override;
  void resolve(const ConfigTable& table) override;
};

/// B recordings of N samples, T frames of C channels, width D, J label sets of K_j classes, E the predictor's
/// width; S hidden frames that count.
class SpeechTargets : public Method {
 public:
  /// Without label sets (target.num_classes) there is no predictor: the encoder alone.
  SpeechTargets(const SpeechTargetsConfig& config, Draws& draws);

  /// Cross-entropy of the hidden frames' labels, summed over the sets and divided by S, and features_pen.
  /// Loss::weight is S. Error when the batch has no labels.
  Loss forward(const Batch& batch, Draws& draws) override;
  /// The mean over the frames of the last block's output.
  Tensor features(const Batch& batch, const FeatureOptions& options) override;
  Frames frames(const Batch& batch) override { return frames_to(batch, config_.encoder.depth); }
  Preview preview(const Batch& batch, Draws& draws) override;
  void before_step(const Progress& progress) override { step_ = progress.step; }
  InputSpec input() const override { return {.modality = "audio"}; }
  bool decays(const std::string& /*name*/, const Tensor& /*parameter*/) const override { return true; }
  int64_t layers() const override { return config_.encoder.depth + 2; }
  int64_t layer_of(const std::string& name) const override;

  const SpeechTargetsConfig& config() const { return config_; }

  /// The front-end's view of a batch in training.
  struct Heard {
    Tensor conv;     ///< [B, C, T], cut where the labels end
    Tensor padding;  ///< [B, T] bool, true = padding (the official rule: all samples of its chunk are)
    Tensor length;   ///< [B] int64 on the host: frames before the padding
    Tensor label;    ///< [B, J, T] int64, -1 where there is none; undefined without labels
  };
  Heard hear(const Batch& batch) const;
  /// What is hidden of a batch.
  struct Mask {
    Tensor frames;    ///< [B, T] bool; undefined: nothing
    Tensor channels;  ///< [B, D] bool, set to 0 at all times; undefined: none
  };
  Mask draw_mask(const Heard& heard, Draws& draws) const;
  /// [B, T, D]: the context network's output. `draws` null: evaluation.
  Tensor encode(const Heard& heard, const Mask& mask, Draws* draws) const;
  /// Without a mask, in evaluation: the input of the first block, then each block's output up to block
  /// `last`.
  std::vector<Tensor> blocks(const Heard& heard, int64_t last) const;
  /// The last block's output as the predictor and a fine-tuned head read it.
  Tensor last_norm(const Tensor& x) const { return encoder_->last_norm(x); }
  /// [S, K_j] scores of the rows of `x` [S, D] for set j.
  Tensor logits(const Tensor& x, int64_t set) const;
  /// Of frames `chosen` [B, T] bool, for each set: the summed cross-entropy and the number named right.
  struct Scored {
    std::vector<Tensor> loss, right;
    int64_t count = 0;
  };
  Scored score(const Tensor& x, const Tensor& label, const Tensor& chosen) const;
  /// As frames(), up to the output of block `last`.
  Frames frames_to(const Batch& batch, int64_t last) const;

 private:
  Tensor project(const Tensor& conv, Draws* draws) const;
  std::vector<char> skipped_blocks() const;

  SpeechTargetsConfig config_;
  std::vector<int64_t> classes_;
  std::shared_ptr<nn::ConvFeatures> feature_extractor_;
  std::shared_ptr<nn::HubertEncoder> encoder_;
  std::shared_ptr<nn::LayerNorm> layer_norm_;
  std::shared_ptr<nn::Linear> post_extract_proj_;        ///< null when C = D
  std::shared_ptr<nn::Linear> final_proj_, target_glu_;  ///< null without them
  Tensor mask_emb_, label_embs_concat_;
  uint64_t layerdrop_seed_ = 0;
  int64_t step_ = 0;
};

/// Labels for frames of the conv stack: frame t takes label floor(t * ratio). `frames` are cut to
/// int(labels / ratio) when they reach beyond the labels. int64 [T'].
Tensor align_labels(int64_t frames, int64_t labels, double ratio);

}  // namespace lacuna
