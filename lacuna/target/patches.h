#pragma once
// Pixels as targets: patches, plain or normalised one by one (MAE, section 3 and table 1d).

#include <torch/types.h>

#include "lacuna/core/config.h"

namespace lacuna::target {

/// image [B, C, H, W] -> [B, L, ph*pw*C]; inside a patch row, column, channel with the channel fastest.
torch::Tensor patchify(const torch::Tensor& image, Size2 patch);
/// Only the patches `ids` [B, K] -> [B, K, ph*pw*C].
torch::Tensor patchify(const torch::Tensor& image, Size2 patch, const torch::Tensor& ids);
/// Inverse of patchify. grid: patches down and across.
torch::Tensor unpatchify(const torch::Tensor& patches, Size2 patch, Size2 grid, int64_t channels);
/// hidden [B, h, w] or [B, L] of any type -> [B, 1, H, W]: every patch blown up to its pixels.
torch::Tensor patch_mask_to_pixels(const torch::Tensor& hidden, Size2 patch, Size2 grid);

/// Mean and sqrt(unbiased variance + 1e-6) over each patch's values, [B, L, 1] both.
struct PatchStatistics {
  torch::Tensor mean, deviation;
};
PatchStatistics patch_statistics(const torch::Tensor& patches);
/// (patches - mean) / deviation.
torch::Tensor normalize_patches(const torch::Tensor& patches);

}  // namespace lacuna::target
