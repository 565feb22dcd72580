#pragma once
// Toy features with known classes.

#include "lacuna/core/draws.h"
#include "lacuna/core/torch.h"
#include "lacuna/eval/protocol.h"

namespace lacuna::testing {

/// `each` rows for each of `classes` Gaussian clusters around fixed centres (length about sqrt(dim)),
/// `spread` wide.
inline eval::Features clusters(int64_t classes, int64_t each, int64_t dim, double spread, uint64_t seed) {
  const auto centre = SeededDraws(99).normal("centre", {classes, dim});
  const auto labels = torch::arange(classes).repeat({each});
  const auto noise = SeededDraws(seed).normal("noise", {classes * each, dim});
  return {centre.index_select(0, labels) + noise * spread, labels};
}

/// The same rows with labels that have nothing to do with them.
inline eval::Features shuffled_labels(eval::Features features, uint64_t seed) {
  features.labels =
      features.labels.index_select(0, torch::tensor(Stream(seed, "labels").permutation(features.size())));
  return features;
}

}  // namespace lacuna::testing
