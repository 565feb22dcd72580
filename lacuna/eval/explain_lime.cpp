// Explainers of a trained classifier: LIME on segments (with layer masking or another removal), and the
// gradient.

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/eval/explain.h"
#include "lacuna/eval/lime.h"
#include "lacuna/eval/lime_picture.h"

namespace lacuna::eval {

namespace {

Tensor target_of(const Supervised& model, const Batch& batch, const ExplainConfig& config) {
  if (config.target == "predicted") return model.logits(batch.image).argmax(1);
  if (batch.label.lt(0).any().item<bool>())
    fail("explain.target label", "some pictures have no label", "use explain.target=predicted");
  return batch.label;
}

Tensor probability_of(const Supervised& model, const Tensor& image, const Tensor& target) {
  return model.logits(image).softmax(1).gather(1, target.unsqueeze(1)).squeeze(1);
}

Explanation explain_by_lime(const Model& model, const Batch& batch, const ExplainConfig& config,
                            Draws& draws) {
  const torch::NoGradGuard no_grad;
  const auto& classifier = classifier_of(model, "explain layer-masking");
  const Remover remover(classifier, model.normalization, config.removal);
  Explanation out;
  out.target = target_of(classifier, batch, config);
  out.probability = probability_of(classifier, batch.image, out.target);
  out.segments = segment(batch.image, config);
  const auto coins = lime_coins(batch.size(), out.segments.max().item<int64_t>() + 1, config, draws);
  const auto scores = lime_scores(remover, batch.image, out.segments, out.target, coins, config);
  out.attribution =
      scores.coef.to(torch::kFloat).gather(1, out.segments.cpu().flatten(1)).view_as(out.segments);
  out.more = {{"score", scores.fit}};
  return out;
}

Explanation explain_by_gradient(const Model& model, const Batch& batch, const ExplainConfig& config,
                                Draws& /*draws*/) {
  const torch::NoGradGuard no_grad;
  const auto& classifier = classifier_of(model, "explain saliency");
  Explanation out;
  out.target = target_of(classifier, batch, config);
  out.probability = probability_of(classifier, batch.image, out.target);
  out.attribution = saliency(classifier, batch.image, out.target);
  return out;
}

const Register<Explainer> registered[] = {
    {"layer-masking",
     {.title = "Towards Improved Input Masking for Convolutional Neural Networks",
      .paper = "Balasubramanian, Feizi; ICCV 2023, pages 1855-1865; arXiv 2211.14646",
      .code = "SriramB-98/layer_masking @ a2610a5 (no licence)",
      .summary =
          "Asks a trained classifier what it would say without parts of a picture: the mask is carried "
          "through every layer and holes are filled from their neighbours, so that neither its colour nor "
          "its shape is seen. LIME fits a linear model of segments to the answers. The classifier is one "
          "of `lacuna pretrain supervised` or `lacuna eval finetune`.",
      .parts = {"segments: square cells or SLIC superpixels",
                "removal: layer masking, or painting (grey, black, colours, ...), or ViT tokens dropped",
                "explainer: LIME, 512 samples, cosine kernel of width 0.25, ridge",
                "evaluation: `lacuna eval removal`, `lacuna eval lime`"},
      .explain = explain_by_lime}},
    {"saliency",
     {.title = "Deep Inside Convolutional Networks: gradient saliency maps",
      .paper = "Simonyan, Vedaldi, Zisserman; ICLR 2014 workshop; arXiv 1312.6034",
      .code = "none",
      .summary = "The gradient of the class's logit by the pixels, its largest size over the channels.",
      .parts = {"explainer: one backward pass"},
      .explain = explain_by_gradient}}};

}  // namespace
}  // namespace lacuna::eval
