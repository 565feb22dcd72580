#pragma once
// Which patches are hidden: uniformly at random, a fixed number in each picture (MAE, section 3).

#include <torch/types.h>

#include <string>

#include "lacuna/core/config.h"
#include "lacuna/core/draws.h"

namespace lacuna::mask {

/// Keys `mask.*`.
struct RandomConfig {
  std::string type = "random";
  double ratio = 0.75;
  void fields(Fields& f);
};

/// A shuffle of L patches for each of B samples: the first `kept_count` are visible, the rest hidden.
struct Shuffle {
  torch::Tensor order;  ///< [B, L] int64, raster numbers of patches in shuffled order (ids_shuffle)
  int64_t kept_count = 0;

  torch::Tensor kept() const { return order.slice(1, 0, kept_count); }  ///< [B, K] visible patches
  torch::Tensor hidden() const { return order.slice(1, kept_count); }   ///< [B, L-K] hidden patches
  torch::Tensor restore() const {
    return order.argsort(1, false);
  }                                 ///< [B, L] inverse of `order` (ids_restore)
  torch::Tensor is_hidden() const;  ///< [B, L] bool in raster order
};

/// Patches kept of L: int(L * (1 - ratio)), computed in double as the official code writes it.
int64_t kept_patches(int64_t patches, double ratio);
/// Refuses a ratio that leaves nothing visible or nothing hidden.
void check_ratio(int64_t patches, double ratio);

/// Draws "noise" [B, L] ~ U[0, 1); order = argsort(noise). `device`: where the result lives.
Shuffle random_shuffle(const RandomConfig& config, int64_t samples, int64_t patches, torch::Device device,
                       Draws& draws);

}  // namespace lacuna::mask
