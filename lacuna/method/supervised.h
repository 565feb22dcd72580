#pragma once
// Classification with labels: what fine-tuning trains, and the baseline that starts from scratch.

#include <memory>
#include <string>

#include "lacuna/data/mixup.h"
#include "lacuna/method/method.h"
#include "lacuna/nn/classifier.h"

namespace lacuna {

/// Keys `head.*`.
struct HeadConfig {
  int64_t num_classes = 0;  ///< 0: those of the data
  std::string pool = "avg";
  void fields(Fields& f);
};

struct SupervisedConfig : MethodConfig {
  nn::EncoderConfig encoder;
  HeadConfig head;
  data::MixupConfig mixup;
  SupervisedConfig();
  void fields(Fields& f) override;
  void resolve(const ConfigTable& table) override;
};

/// B pictures, C classes. Module names are the official fine-tuned checkpoints' (nn::Classifier).
class Supervised : public Method {
 public:
  Supervised(const SupervisedConfig& config, Draws& draws);

  /// Cross-entropy against smoothed and mixed labels: mean over B of sum over C of -target * log softmax.
  Loss forward(const Batch& batch, Draws& draws) override;
  /// What the head reads; there is no other feature, so `pool` may only ask for that one.
  Tensor features(const Batch& batch, const FeatureOptions& options) override;
  /// The pictures; nothing is hidden and no pixel predicted.
  Preview preview(const Batch& batch, Draws& draws) override;
  InputSpec input() const override { return {config_.encoder.in_chans, config_.encoder.img_size}; }
  bool decays(const std::string& name, const Tensor& parameter) const override;
  int64_t layers() const override { return classifier_->layers(); }
  int64_t layer_of(const std::string& name) const override { return classifier_->layer_of(name); }

  /// nn::Classifier::adapt, with this network's own head where the weights bring none that fits.
  std::map<std::string, Tensor> adapt(std::map<std::string, Tensor> weights,
                                      const Json& source) const override;

  const SupervisedConfig& config() const { return config_; }
  const nn::Classifier& classifier() const { return *classifier_; }
  /// [B, C] in evaluation: no drop path.
  Tensor logits(const Tensor& image) const { return classifier_->logits(image, nullptr); }

 private:
  SupervisedConfig config_;
  std::shared_ptr<nn::Classifier> classifier_;
};

/// Mean over the rows of sum(-target * log softmax(logits)); both [B, C].
Tensor soft_cross_entropy(const Tensor& logits, const Tensor& target);

}  // namespace lacuna
