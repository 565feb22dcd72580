#pragma once
// Which tokens of a text are hidden (MEAP, arXiv 2502.07490).

#include <torch/types.h>

#include "lacuna/core/config.h"
#include "lacuna/core/draws.h"

namespace lacuna::mask {

/// Keys `mask.*`.
struct TokenMaskConfig {
  double ratio = 0.15;
  bool shared_over_batch = true;
  bool keep_last = true;
  int64_t token_id = 32000;  ///< of [MASK]
  int64_t seed = 50, sets = 51;
  void fields(Fields& f);
};

/// max(1, int(tokens * ratio)), and never more than there are to choose from.
int64_t masked_count(const TokenMaskConfig& config, int64_t tokens);
/// The official positions of an optimiser step, in the order of Python's random.sample: [n] int64 of {0 ..
/// tokens - 1}, or up to the last but one with keep_last. Seeded with seed + (step mod sets); sets 0: seed +
/// step.
torch::Tensor shared_positions(const TokenMaskConfig& config, int64_t tokens, int64_t step);
/// [B, T] bool, true = hidden: each text its own. Draws "mask" [B, T].
torch::Tensor own_positions(const TokenMaskConfig& config, int64_t texts, int64_t tokens, Draws& draws);

}  // namespace lacuna::mask
