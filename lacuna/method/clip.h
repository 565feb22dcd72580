#pragma once
// CLIP: Learning Transferable Visual Models From Natural Language Supervision (Radford et al., ICML 2021,
// arXiv 2103.00020).

#include <memory>
#include <string>

#include "lacuna/method/method.h"
#include "lacuna/nn/clip.h"
#include "lacuna/nn/gather.h"

namespace lacuna {

/// Keys `loss.*`.
struct ClipLossConfig {
  double temperature = 0.07;  ///< the logits are multiplied by exp(logit_scale), 1 / this at the start
  double max_scale = 100;     ///< exp(logit_scale) is kept at or below it; 0: free
  void fields(Fields& f);
};

/// Keys `projection.*`.
struct ClipProjectionConfig {
  int64_t dim = 512;  ///< E
  void fields(Fields& f);
};

struct ClipConfig : MethodConfig {
  nn::ClipVisionConfig encoder;
  nn::ClipTextConfig text;
  ClipProjectionConfig projection;
  ClipLossConfig loss;
  void fields(Fields& f) override;
  void resolve(const ConfigTable& table) override;
};

/// B pictures with a text each, E dimensions of the shared space.
class Clip : public Method {
 public:
  Clip(const ClipConfig& config, Draws& draws);

  /// Symmetric cross-entropy: each picture must find its text among those of the batch, and each text its
  /// picture (paper, figure 3). Of several processes, the batch of all together.
  Loss forward(const Batch& batch, Draws& draws) override;
  void after_step(const Progress& progress) override;
  /// The picture's vector in the shared space, not normalised; token: the class token behind ln_post; avg:
  /// the mean of the patch tokens behind ln_post.
  Tensor features(const Batch& batch, const FeatureOptions& options) override;
  Tensor tokens(const Batch& batch) override;
  Preview preview(const Batch& batch, Draws& draws) override;
  InputSpec input() const override;
  /// Positions are resized to this network's grid.
  std::map<std::string, Tensor> adapt(std::map<std::string, Tensor> weights,
                                      const Json& source) const override;

  const ClipConfig& config() const { return config_; }
  const nn::ClipVision& visual() const { return *visual_; }
  const nn::ClipText& text() const { return *text_; }
  /// exp(logit_scale), a scalar.
  Tensor scale() const { return logit_scale_.exp(); }
  /// tokens [B, U], -1 behind each text's end -> [B, E], not normalised.
  Tensor text_features(const Tensor& tokens) const;

 private:
  ClipConfig config_;
  std::shared_ptr<nn::ClipVision> visual_;
  std::shared_ptr<nn::ClipText> text_;
  std::shared_ptr<nn::RowGather> gather_;
  Tensor logit_scale_;
};

/// logits [B, B] of pictures (rows) and texts -> mean of both cross-entropies with the diagonal as label.
/// `first`: the number of the first row's own text, where rows are a part of the batch; then `by_text` holds
/// the logits of the texts of that part [b, B].
Tensor contrastive_loss(const Tensor& by_image, const Tensor& by_text, int64_t first = 0);

}  // namespace lacuna
