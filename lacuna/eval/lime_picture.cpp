#include "lacuna/eval/lime_picture.h"

#include "lacuna/core/torch.h"
#include "lacuna/eval/lime.h"

namespace lacuna::eval {

namespace {

constexpr int64_t kPicturesAtOnce = 64;

LimeConfig regression(const ExplainConfig& config) {
  LimeConfig out;
  out.kernel_width = config.kernel_width;
  out.num_features = config.num_features;
  return out;
}

/// [S]: the target's probability for each row of `on` [S, F].
Tensor probabilities(const Remover& remover, const Tensor& image, const Tensor& segments, int64_t target,
                     const Tensor& on) {
  std::vector<Tensor> out;
  for (const auto& part : on.split(kPicturesAtOnce)) {
    const int64_t n = part.size(0);
    const auto kept = kept_pixels(segments.expand({n, -1, -1}), part);
    const auto logits = remover.logits(image.expand({n, -1, -1, -1}), kept);
    out.push_back(logits.to(torch::kFloat).softmax(1).select(1, target).cpu());
  }
  return torch::cat(out);
}

LimeFit fit(const Tensor& on, const Tensor& probability, const LimeConfig& config) {
  const auto data = on.to(torch::kDouble).cpu();
  return fit_lime(data, probability, lime_kernel(cosine_distances(data), config.kernel_width), config);
}

/// The whole picture and every second sample from `first` on.
LimeFit fit_half(const Tensor& on, const Tensor& probability, int64_t first, const LimeConfig& config) {
  const auto half = [&](const Tensor& x) { return torch::cat({x.slice(0, 0, 1), x.slice(0, first, {}, 2)}); };
  return fit(half(on), half(probability), config);
}

}  // namespace

Tensor lime_coins(int64_t pictures, int64_t segments, const ExplainConfig& config, Draws& draws) {
  auto on = draws.uniform("lime", {pictures, config.samples, segments}).ge(0.5);
  on.select(1, 0).fill_(true);
  return on;
}

LimeScores lime_scores(const Remover& remover, const Tensor& image, const Tensor& segments,
                       const Tensor& target, const Tensor& coins, const ExplainConfig& config) {
  const torch::NoGradGuard no_grad;
  const auto settings = regression(config);
  const int64_t B = image.size(0), F = coins.size(2);
  LimeScores out{.coef = torch::zeros({B, F}, torch::kDouble),
                 .fit = torch::zeros({B}),
                 .consistency = torch::zeros({B}, torch::kDouble)};
  for (int64_t i = 0; i < B; ++i) {
    const int64_t own = segments[i].max().item<int64_t>() + 1;
    const auto on = coins[i].slice(1, 0, own).to(image.device());
    const auto probability = probabilities(remover, image.slice(0, i, i + 1), segments.slice(0, i, i + 1),
                                           target[i].item<int64_t>(), on);
    const auto whole = fit(on, probability, settings);
    out.coef[i].slice(0, 0, own).copy_(whole.coef);
    out.fit[i].fill_(whole.score);
    const auto first = fit_half(on, probability, 1, settings).coef,
               second = fit_half(on, probability, 2, settings).coef;
    out.consistency[i].copy_(first.dot(second) / (first.norm() * second.norm()).clamp_min(1e-12));
  }
  return out;
}

}  // namespace lacuna::eval
