#pragma once
// MEAP: Mask-Enhanced Autoregressive Prediction: Pay Less Attention to Learn More (ICML 2025, arXiv
// 2502.07490).

#include <memory>
#include <string>

#include "lacuna/mask/tokens.h"
#include "lacuna/method/method.h"
#include "lacuna/nn/llama.h"

namespace lacuna {

struct MeapConfig : MethodConfig {
  nn::LlamaConfig encoder;
  mask::TokenMaskConfig mask;
  MeapConfig() { mask.token_id = 32000; }
  void fields(Fields& f) override;
  void resolve(const ConfigTable& table) override;
};

/// Cross-entropy of predictions against the tokens that follow.
struct NextToken {
  Tensor loss;    ///< scalar: mean over the places that have a target
  int64_t count;  ///< of those places
};

/// Texts in, a loss out. B texts of T + 1 tokens: T are read, each one's successor is to be said.
class Meap : public Method {
 public:
  Meap(const MeapConfig& config, Draws& draws);

  /// batch.tokens alone: pre-training. Input tokens are masked (mask.*), targets are not. With
  /// batch.token_label: fine-tuning of rows as they are (data/dialogue.h); the label at t is predicted from t
  /// - 1.
  Loss forward(const Batch& batch, Draws& draws) override;
  void before_step(const Progress& progress) override { step_ = progress.step; }
  /// Mean over a text's tokens of the state behind the last norm.
  Tensor features(const Batch& batch, const FeatureOptions& options) override;
  Tensor tokens(const Batch& batch) override;
  Preview preview(const Batch& batch, Draws& draws) override;
  InputSpec input() const override { return {.modality = "text", .tokens = config_.encoder.context + 1}; }
  bool decays(const std::string& /*name*/, const Tensor& /*parameter*/) const override { return true; }
  int64_t layers() const override { return config_.encoder.depth + 2; }
  int64_t layer_of(const std::string& name) const override;

  /// ids [B, T] int64, hidden [B, T] bool (undefined: nothing) -> ids with [MASK] where hidden.
  Tensor masked(const Tensor& ids, const Tensor& hidden) const;
  /// Which input tokens of this step are hidden: [B, T] bool.
  Tensor hidden(int64_t texts, int64_t tokens, Draws& draws) const;
  /// ids [B, T], target [B, T] (-1: none). Only places with a target are given to the head.
  NextToken next_token(const Tensor& ids, const Tensor& target) const;

  const MeapConfig& config() const { return config_; }
  const nn::Llama& network() const { return *network_; }

 private:
  MeapConfig config_;
  std::shared_ptr<nn::Llama> network_;
  int64_t step_ = 0;
};

/// ids [B, U] with -1 behind a text's end -> without: 0 stands there, which no earlier token sees.
Tensor without_filling(const Tensor& tokens);

}  // namespace lacuna
