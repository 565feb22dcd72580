#pragma once
// LIME on pictures: random segments are removed, the classifier is asked, and a linear model is fitted.

#include "lacuna/core/draws.h"
#include "lacuna/eval/removal.h"

namespace lacuna::eval {

/// [B, S, F] bool, S = explain.samples: which segments are kept; each with probability a half, all in the
/// first row.
Tensor lime_coins(int64_t pictures, int64_t segments, const ExplainConfig& config, Draws& draws);

struct LimeScores {
  Tensor coef;  ///< [B, F] float64, 0 for numbers that a picture has no segment of
  Tensor fit;   ///< [B] float32: weighted R^2
  /// [B] float64: cosine between the coefficients of two fits, each on half of the samples.
  Tensor consistency;
};
/// For each picture of image [B, C, H, W]: segments [B, H, W], target [B]. On the CPU.
LimeScores lime_scores(const Remover& remover, const Tensor& image, const Tensor& segments,
                       const Tensor& target, const Tensor& coins, const ExplainConfig& config);

}  // namespace lacuna::eval
