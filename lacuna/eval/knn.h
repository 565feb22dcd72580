#pragma once
// k nearest neighbours in feature space: needs no training, so no setting can flatter it.

#include "lacuna/eval/protocol.h"

namespace lacuna::eval {

/// The one k that "top1" stands for, fixed beforehand: DINO's best on ImageNet (Caron et al., ICCV 2021,
/// section 4.1).
inline constexpr int64_t kReportedK = 20;

/// Weighted k-NN as in DINO: cosine similarity, votes exp(s / temperature). Metrics: top1 (k = 20), top1_k<k>
/// for each k of the config that the bank can fill, top5 and top5_k<k> with more than five classes, chance.
Result knn(const Features& bank, const Features& test, const EvalConfig& config);

}  // namespace lacuna::eval
