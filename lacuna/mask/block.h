#pragma once
// Which patches are hidden: large square cells, uniformly at random (SimMIM, section 3.2;
// data/data_simmim.py).

#include <torch/types.h>

#include <string>

#include "lacuna/core/config.h"
#include "lacuna/core/draws.h"

namespace lacuna::mask {

/// Keys `mask.*`.
struct BlockConfig {
  std::string type = "simmim";
  int64_t mask_patch_size = 32;  ///< side of a cell in pixels
  double ratio = 0.6;            ///< share of the cells that is hidden, rounded up
  void fields(Fields& f);
};

/// Refuses cells that do not tile picture and patches, and a ratio that leaves nothing visible or nothing
/// hidden.
void check_blocks(const BlockConfig& config, Size2 img_size, Size2 patch_size);

/// Draws "perm" [B, cells], a permutation for each sample whose first ceil(cells * ratio) entries are hidden.
/// -> [B, h, w] bool on the CPU at patch resolution, true = hidden.
torch::Tensor random_blocks(const BlockConfig& config, int64_t samples, Size2 img_size, Size2 patch_size,
                            Draws& draws);

}  // namespace lacuna::mask
