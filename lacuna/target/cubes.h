#pragma once
// Pixels of films as targets: cubes of a few frames, plain or normalised one by one (VideoMAE, Tong et al.,
// NeurIPS 2022, engine_for_pretraining.py).

#include <torch/types.h>

#include <string>
#include <vector>

#include "lacuna/nn/video_vit.h"

namespace lacuna::target {

/// Cubes `ids` [B, K] of video [B, C, T, H, W] -> [B, K, P]; inside a cube frame, row, column, channel with
/// the channel fastest.
torch::Tensor cubes(const torch::Tensor& video, const nn::VideoViTConfig& config, const torch::Tensor& ids);
/// Inverse, for all tokens: [B, N, P] -> [B, C, T, H, W].
torch::Tensor uncube(const torch::Tensor& cubes, const nn::VideoViTConfig& config);

/// The ways of normalising: "patch_channel" (each channel of a cube by its own mean and sqrt(unbiased
/// variance)
/// + 1e-6: VideoMAE), "patch" (all values of a cube together, sqrt(unbiased variance + 1e-6): MAE), "none".
std::vector<std::string> cube_norms();
/// What turns cubes [B, K, P] into targets: (x - mean) / deviation, both broadcastable to x.
struct CubeUnits {
  torch::Tensor mean, deviation;
};
CubeUnits cube_units(const torch::Tensor& cubes, int64_t channels, const std::string& norm);

}  // namespace lacuna::target
