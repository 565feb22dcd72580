#pragma once
// Speech recognition by CTC (Graves et al., ICML 2006) on HuBERT's encoder: fairseq's hubert_ctc, and with
// `head.weighted` SUPERB's frozen one (Yang et al., Interspeech 2021).

#include <memory>
#include <string>
#include <vector>

#include "lacuna/data/transcripts.h"
#include "lacuna/method/speech_targets.h"

namespace lacuna {

/// Keys `head.*`.
struct CtcHeadConfig : data::TranscriptConfig {
  std::vector<std::string> tokens;  ///< empty: those of the data
  double freeze_share = 0.4;
  double dropout = 0;
  bool weighted = false;
  void fields(Fields& f);
};

/// Keys `encoder.*`, `mask.*`, `channel_mask.*`, `head.*`. The defaults are base_10h's.
struct SpeechCtcConfig : MethodConfig {
  nn::HubertConfig encoder;
  mask::SpanConfig mask{.prob = 0.75, .length = 10};
  mask::SpanConfig channel_mask{.prob = 0.5, .length = 64, .min_spans = 0};
  CtcHeadConfig head;
  SpeechCtcConfig();
  void fields(Fields& f) override;
  void resolve(const ConfigTable& table) override;
};

/// B recordings, T frames, V tokens; class 0 is CTC's blank, class i + 1 token i. Names are those of
/// fairseq's fine-tuned checkpoints: w2v_encoder.w2v_model.*, w2v_encoder.proj.*.
class SpeechCtc : public Method {
 public:
  SpeechCtc(const SpeechCtcConfig& config, Draws& draws);

  /// CTC's loss, mean over the recordings; one whose tokens do not fit into its frames counts 0. Error when
  /// the batch has no tokens.
  Loss forward(const Batch& batch, Draws& draws) override;
  void before_step(const Progress& progress) override;
  Tensor features(const Batch& batch, const FeatureOptions& options) override;
  Frames frames(const Batch& batch) override { return model_->frames(batch); }
  Preview preview(const Batch& batch, Draws& draws) override;
  InputSpec input() const override { return {.modality = "audio"}; }
  bool decays(const std::string& /*name*/, const Tensor& /*parameter*/) const override { return true; }
  /// Puts a pre-trained encoder under this network's names, without its predictor and with this head.
  std::map<std::string, Tensor> adapt(std::map<std::string, Tensor> weights,
                                      const Json& source) const override;

  /// Log-probabilities [B, T, 1 + V] float32 in evaluation, and the valid frames of each row, [B] int64.
  struct Heard {
    Tensor log_probs, length;
  };
  Heard hear(const Batch& batch) const;
  const SpeechCtcConfig& config() const { return config_; }

 private:
  Tensor weighted(const std::vector<Tensor>& layers) const;
  Tensor scores(const Tensor& x) const;

  SpeechCtcConfig config_;
  std::shared_ptr<SpeechTargets> model_;
  std::shared_ptr<nn::Linear> proj_;
  Tensor layer_weights_;  ///< undefined unless head.weighted
  bool frozen_ = false;
};

}  // namespace lacuna
