#pragma once
// What a classifier says when parts of a picture are not there: layer masking and the ways to paint over that
// it is compared with (Balasubramanian & Feizi, ICCV 2023, sections 3 and 4).

#include <string>
#include <vector>

#include "lacuna/data/transform.h"
#include "lacuna/eval/protocol.h"
#include "lacuna/method/supervised.h"

namespace lacuna::eval {

/// B pictures, C channels, K classes.
class Remover {
 public:
  /// `model` must live as long. Error: an unknown name, a network that can't carry a mask, colours for
  /// pictures without three channels.
  Remover(const Supervised& model, const data::Normalization& normalization, const std::string& name);
  /// [B, K] of what `kept` [B, 1, H, W] (1 = kept) leaves of `image` [B, C, H, W]; differentiable.
  Tensor logits(const Tensor& image, const Tensor& kept) const;
  /// [B, D]: what the classifier's head reads, of the same.
  Tensor features(const Tensor& image, const Tensor& kept) const;
  /// The picture with the removed part painted over; layer masking and its like never look at it: grey.
  Tensor paint(const Tensor& image, const Tensor& kept) const;
  const std::string& name() const { return name_; }

 private:
  const Supervised& model_;
  data::Normalization normalization_;
  std::string name_;
};

/// The classifier in a loaded model; Error naming `what` when the weights are no classifier's.
const Supervised& classifier_of(const Model& model, const std::string& what);

/// [B, H, W] int64 numbers of segments from 0, for each picture. `image` [B, C, H, W] normalised.
Tensor segment(const Tensor& image, const ExplainConfig& config);
/// [B, 1, H, W] float from kept segments `on` [B, F] (bool or 0/1): pixels of segments that are on.
Tensor kept_pixels(const Tensor& segments, const Tensor& on);
/// [B, F] sums over the segments of `pixels` [B, H, W]; F = the largest number of segments.
Tensor segment_sums(const Tensor& pixels, const Tensor& segments);

/// [B, H, W]: |d logit of `label` / d pixel|, largest over the channels (Simonyan et al., arXiv 1312.6034).
Tensor saliency(const Supervised& model, const Tensor& image, const Tensor& label);

}  // namespace lacuna::eval
