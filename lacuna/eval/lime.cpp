#include "lacuna/eval/lime.h"

#include <algorithm>
#include <vector>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna::eval {

namespace {

constexpr double kSelectionAlpha = 0.01;  // lime_base: the ridge that ranks all features
constexpr int64_t kForwardAtMost = 6;     // lime_base: up to so many are chosen one by one

/// What every weighted least-squares fit on some of the columns needs: second moments about the weighted
/// means.
struct Moments {
  Tensor gram;   ///< [F, F]
  Tensor cross;  ///< [F]
  double total;  ///< of the target
  Tensor x_mean;
  double y_mean;

  Moments(const Tensor& data, const Tensor& target, const Tensor& weights) {
    const auto share = weights / weights.sum();
    x_mean = share.matmul(data);
    y_mean = share.dot(target).item<double>();
    const auto x = data - x_mean, y = target - y_mean;
    const auto weighted = x * weights.unsqueeze(1);
    gram = weighted.t().matmul(x);
    cross = weighted.t().matmul(y);
    total = (weights * y * y).sum().item<double>();
  }

  /// Ridge coefficients of the columns `chosen`; least norm where they are dependent.
  Tensor solve(const Tensor& chosen, double alpha) const {
    const auto g = gram.index_select(0, chosen).index_select(1, chosen) +
                   alpha * torch::eye(chosen.size(0), gram.options());
    return at::linalg_pinv(g, /*rcond=*/1e-12, /*hermitian=*/true).matmul(cross.index_select(0, chosen));
  }

  /// Weighted R^2 of these coefficients; 1 for a constant target, which any fit meets.
  double score(const Tensor& chosen, const Tensor& coef) const {
    if (total <= 0) return 1;
    const auto g = gram.index_select(0, chosen).index_select(1, chosen);
    const auto explained = 2 * coef.dot(cross.index_select(0, chosen)) - coef.dot(g.matmul(coef));
    return explained.item<double>() / total;
  }
};

Tensor forward_selection(const Moments& moments, int64_t count) {
  const int64_t F = moments.cross.size(0);
  std::vector<int64_t> used;
  while (std::ssize(used) < std::min(count, F)) {
    double best = -1e8;
    int64_t chosen = 0;
    for (int64_t feature = 0; feature < F; ++feature) {
      if (std::find(used.begin(), used.end(), feature) != used.end()) continue;
      auto tried = used;
      tried.push_back(feature);
      const auto ids = torch::tensor(tried, torch::kLong);
      const double score = moments.score(ids, moments.solve(ids, 0));
      if (score > best) best = score, chosen = feature;
    }
    used.push_back(chosen);
  }
  return torch::tensor(used, torch::kLong);
}

Tensor select_features(const Moments& moments, const Tensor& first_row, const LimeConfig& config) {
  const auto all = torch::arange(moments.cross.size(0), torch::kLong);
  auto how = config.feature_selection;
  if (how == "auto") how = config.num_features <= kForwardAtMost ? "forward_selection" : "highest_weights";
  if (how == "none") return all;
  if (how == "forward_selection") return forward_selection(moments, config.num_features);
  if (how == "highest_weights") {
    const auto weight = (moments.solve(all, kSelectionAlpha) * first_row).abs();
    return weight.argsort(/*stable=*/true, 0, /*descending=*/true).slice(0, 0, config.num_features);
  }
  fail("feature_selection " + config.feature_selection, "unknown",
       suggest(config.feature_selection, {"auto", "forward_selection", "highest_weights", "none"}));
}

}  // namespace

Tensor cosine_distances(const Tensor& data) {
  const auto rows = data.to(torch::kDouble);
  const auto norm = rows.norm(2, 1);
  const auto unit = rows / at::where(norm.eq(0), torch::ones_like(norm), norm).unsqueeze(1);
  return (1 - unit.matmul(unit[0])).clamp(0, 2);
}

Tensor lime_kernel(const Tensor& distance, double width) {
  return distance.square().div(-width * width).exp().sqrt();
}

LimeFit fit_lime(const Tensor& data, const Tensor& target, const Tensor& weights, const LimeConfig& config) {
  const auto x = data.to(torch::kDouble), y = target.to(torch::kDouble);
  const Moments moments(x, y, weights.to(torch::kDouble));
  const auto chosen = select_features(moments, x[0], config);
  const auto b = moments.solve(chosen, config.ridge_alpha);
  LimeFit fit;
  fit.coef = torch::zeros({x.size(1)}, torch::kDouble).index_copy_(0, chosen, b);
  fit.intercept = moments.y_mean - fit.coef.dot(moments.x_mean).item<double>();
  fit.score = moments.score(chosen, b);
  fit.local_pred = fit.intercept + fit.coef.dot(x[0]).item<double>();
  return fit;
}

}  // namespace lacuna::eval
