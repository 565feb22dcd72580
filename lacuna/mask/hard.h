#pragma once
// Which patches are hidden: those predicted hardest to reconstruct, more of them as training goes on, and the
// rest at random (HPM, "easy-to-hard mask generation").

#include <torch/types.h>

#include <string>

#include "lacuna/core/config.h"
#include "lacuna/core/draws.h"
#include "lacuna/mask/random.h"

namespace lacuna::mask {

/// Keys `mask.*`.
struct HardConfig {
  std::string type = "hpm";  ///< hpm | regular | block
  double ratio = 0.75;
  bool guide = true;
  double hard_start = 0, hard_end = 0.5;
  double vis_mask_ratio = 0;
  void fields(Fields& f);
};

/// How many of the hidden patches are chosen by their predicted loss in epoch `epoch` (from 0) of `epochs`:
/// int(hidden * alpha), alpha = hard_start + (hard_end - hard_start) (epoch + 1) / epochs, never beyond
/// hard_end. 0 without `guide`.
int64_t hard_count(const HardConfig& config, int64_t hidden, double epoch, double epochs);

/// predicted_loss [B, L]. The `hard` patches of each sample with the largest loss are hidden; the others,
/// ascending, are reordered by "perm" [B, L - hard], and the first K = kept_patches(L, ratio) of them stay.
/// Visible patches come in raster order, and then hidden ones. Equal losses count as ascending by position.
Shuffle hard_shuffle(const HardConfig& config, const torch::Tensor& predicted_loss, int64_t hard,
                     Draws& draws);
/// None by hardness: the K patches of lowest "noise" [B, L] ~ N(0, 1) stay. Order as above.
Shuffle easy_shuffle(const HardConfig& config, int64_t samples, int64_t patches, torch::Device device,
                     Draws& draws);

/// UM-MAE's masks (Li et al., arXiv 2205.10063), for grids of even sides; a quarter of the patches stays.
/// Refuses other grids and ratios.
void check_pattern(const HardConfig& config, Size2 grid);
/// config.type = regular: of each 2x2 cells one stays. Corners are dealt in equal numbers: "regular" [B, R],
/// a permutation of R rows (R the smallest multiple of 4 that is at least L / 2) whose first L / 4 entries,
/// modulo 4, are the corners of the cells in raster order. block: the patches of one rectangle of half the
/// grid's sides stay; "block" [B, 2] ~ U[0, 1) puts its top and left edge on int(u * half the side). Order as
/// above.
Shuffle pattern_shuffle(const HardConfig& config, int64_t samples, Size2 grid, torch::Device device,
                        Draws& draws);

/// The secondary mask: which of K visible patches the encoder sees as a token only, [B, K] bool. "vis_noise"
/// [B, K] ~ U[0, 1) leaves int(K (1 - vis_mask_ratio)) of them.
torch::Tensor blank_visible(const HardConfig& config, int64_t samples, int64_t visible, torch::Device device,
                            Draws& draws);

}  // namespace lacuna::mask
