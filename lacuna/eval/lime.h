#pragma once
// Local linear explanations (Ribeiro, Singh & Guestrin, "Why Should I Trust You?", KDD 2016) with the numbers
// of the lime package 0.2.0.1: a weighted ridge regression from kept segments to a class's probability.

#include <ATen/core/Tensor.h>

#include <string>

namespace lacuna::eval {

using at::Tensor;

struct LimeConfig {
  double kernel_width = 0.25;
  int64_t num_features = 100000;           ///< segments that get a coefficient
  std::string feature_selection = "auto";  ///< auto | forward_selection | highest_weights | none
  double ridge_alpha = 1.0;
};

/// [N] of data [N, F]: 1 - cosine to the first row; 1 for a row of zeros.
Tensor cosine_distances(const Tensor& data);
/// sqrt(exp(-distance^2 / width^2))
Tensor lime_kernel(const Tensor& distance, double width);

struct LimeFit {
  Tensor coef;  ///< [F] float64, 0 for features that were not chosen
  double intercept = 0;
  double score = 0;       ///< weighted R^2
  double local_pred = 0;  ///< for the first row
};

/// data [N, F] of 0 and 1 (first row: the whole picture), target [N], weights [N].
LimeFit fit_lime(const Tensor& data, const Tensor& target, const Tensor& weights, const LimeConfig& config);

}  // namespace lacuna::eval
