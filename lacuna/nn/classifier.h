#pragma once
// Encoders with a linear head, as fine-tuning uses them: names, pooling and layer numbers of the official
// codes (facebookresearch/mae models_vit.py and util/lr_decay.py; microsoft/SimMIM models/ and optimizer.py).

#include <torch/nn/module.h>

#include <map>
#include <memory>
#include <string>

#include "lacuna/nn/encoder_config.h"

namespace lacuna::nn {

struct ClassifierConfig {
  EncoderConfig encoder;
  int64_t num_classes = 1000;
  std::string pool = "avg";  ///< avg: mean of the patch tokens, then fc_norm (Swin: norm, then mean) | token:
                             ///< norm, class token
};

/// Names: the encoder's, fc_norm.* (avg, but not Swin), head.{weight [classes, D'], bias}; of convolutional
/// networks torchvision's.
class Classifier : public torch::nn::Module {
 public:
  /// [B, D']: what the head reads. image [B, C, H, W]; `draws` null: no drop path.
  virtual torch::Tensor features(const torch::Tensor& image, Draws* draws) const = 0;
  /// [B, classes]
  torch::Tensor logits(const torch::Tensor& image, Draws* draws) const {
    return logits_of(features(image, draws), draws);
  }
  virtual torch::Tensor logits_of(const torch::Tensor& features, Draws* /*draws*/ = nullptr) const {
    return head_->forward(features);
  }
  /// [B, D'] of the pixels kept alone: image.kept [B, 1, H, W]. A convolutional network carries the mask
  /// through its layers; a plain ViT drops the tokens of patches without a kept pixel. In evaluation mode.
  /// Error for encoders that can do neither.
  virtual torch::Tensor features_of_kept(const MaskedTensor& image) const;
  /// [B, classes] of the same.
  torch::Tensor logits_of_kept(const MaskedTensor& image) const { return logits_of(features_of_kept(image)); }

  virtual void initialize(Draws& draws) = 0;
  /// Layers of layer-wise learning rates: blocks + 2. 0 is the embedding, layers() - 1 the head.
  virtual int64_t layers() const = 0;
  virtual int64_t layer_of(const std::string& name) const = 0;
  /// Names of tensors with two dimensions or more that weight decay spares in fine-tuning.
  virtual bool spared_by_decay(const std::string& name) const = 0;
  /// Parameters of the head (and of the norm before it, where only classifiers have one).
  virtual bool is_head(const std::string& name) const {
    return name.starts_with("head.") || name.starts_with("fc_norm.");
  }

  /// Pre-trained weights under this classifier's names and shapes: "encoder." in front is taken off,
  /// positions and relative tables are resized from `from`'s grid, a table shared by all blocks is given to
  /// each. What only pre-training has (decoder, mask token, a final norm that is not used) is left out, as
  /// are head and fc_norm of other shapes.
  std::map<std::string, torch::Tensor> adapt(std::map<std::string, torch::Tensor> weights,
                                             const EncoderConfig& from) const;

 protected:
  /// With a linear head called "head".
  Classifier(int64_t features, int64_t num_classes);
  Classifier() = default;  ///< the network brings its own head
  /// Resizes what depends on the grid, in place.
  virtual void resize(std::map<std::string, torch::Tensor>& weights, const EncoderConfig& from) const = 0;

  std::shared_ptr<Linear> head_;
};

std::shared_ptr<Classifier> make_classifier(const ClassifierConfig& config);

}  // namespace lacuna::nn
