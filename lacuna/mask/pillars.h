#pragma once
// Which pillars of each cloud are hidden (GeoMAE's random masking of non-empty pillars).

#include <string>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/core/draws.h"

namespace lacuna::mask {

/// Keys `mask.*`.
struct PillarMaskConfig {
  double ratio = 0.7;
  std::string of = "all";  ///< all | labelled | foreground
  void fields(Fields& f);
};

/// Rows of the batch's pillars: clouds one after the other, each in the order drawn.
struct PillarMask {
  at::Tensor keep;  ///< [K] int64
  at::Tensor hide;  ///< [H] int64
};
/// Of a cloud with L pillars int(L * (1 - ratio)) are kept. counts [B]: L of each cloud, whose rows lie one
/// behind the other. Draws "mask" [B, largest L], uniform: a cloud's order is that of its first L numbers, so
/// that it does not depend on the other clouds. `open` [V] bool (undefined: all): only these may be hidden;
/// the others are kept, behind those of their cloud that were drawn.
PillarMask mask_pillars(const PillarMaskConfig& config, const std::vector<int64_t>& counts,
                        const at::Tensor& open, Draws& draws);
/// The numbers that make mask_pillars draw these permutations. permutation [B, Lmax] int64, -1 fills.
at::Tensor numbers_of_permutation(const at::Tensor& permutation);

}  // namespace lacuna::mask
