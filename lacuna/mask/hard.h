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
  std::string type = "hpm";
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

/// The secondary mask: which of K visible patches the encoder sees as a token only, [B, K] bool. "vis_noise"
/// [B, K] ~ U[0, 1) leaves int(K (1 - vis_mask_ratio)) of them.
torch::Tensor blank_visible(const HardConfig& config, int64_t samples, int64_t visible, torch::Device device,
                            Draws& draws);

}  // namespace lacuna::mask
