#include "lacuna/target/patches.h"

#include "lacuna/core/torch.h"
#include "lacuna/nn/layers.h"

namespace lacuna::target {

namespace {

constexpr double kVarianceEps = 1e-6;

// [B, h, w, ph, pw, C] strides over the image.
torch::Tensor channels_last_patches(const torch::Tensor& image, Size2 patch) {
  return nn::patch_view(image, patch).permute({0, 1, 2, 4, 5, 3});
}

}  // namespace

torch::Tensor patchify(const torch::Tensor& image, Size2 patch) {
  return channels_last_patches(image, patch).flatten(3).flatten(1, 2);
}

torch::Tensor patchify(const torch::Tensor& image, Size2 patch, const torch::Tensor& ids) {
  return nn::gather_patches(channels_last_patches(image, patch), ids).flatten(2);
}

torch::Tensor unpatchify(const torch::Tensor& patches, Size2 patch, Size2 grid, int64_t channels) {
  return patches.reshape({patches.size(0), grid.h, grid.w, patch.h, patch.w, channels})
      .permute({0, 5, 1, 3, 2, 4})
      .reshape({patches.size(0), channels, grid.h * patch.h, grid.w * patch.w});
}

torch::Tensor patch_mask_to_pixels(const torch::Tensor& hidden, Size2 patch, Size2 grid) {
  return hidden.reshape({hidden.size(0), 1, grid.h, 1, grid.w, 1})
      .expand({-1, 1, grid.h, patch.h, grid.w, patch.w})
      .reshape({hidden.size(0), 1, grid.h * patch.h, grid.w * patch.w});
}

PatchStatistics patch_statistics(const torch::Tensor& patches) {
  // In two passes: LibTorch's var_mean runs value by value.
  const auto mean = patches.mean(-1, /*keepdim=*/true);
  const auto spread = at::linalg_vector_norm(patches - mean, 2, {-1}, /*keepdim=*/true);
  const auto variance = spread.square() / static_cast<double>(patches.size(-1) - 1);  // unbiased
  return {mean, (variance + kVarianceEps).sqrt()};
}

torch::Tensor normalize_patches(const torch::Tensor& patches) {
  const auto statistics = patch_statistics(patches);
  return (patches - statistics.mean) / statistics.deviation;
}

}  // namespace lacuna::target
