#include "lacuna/target/cubes.h"

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/target/patches.h"

namespace lacuna::target {

namespace {
constexpr double kDeviationEps = 1e-6;
}

torch::Tensor cubes(const torch::Tensor& video, const nn::VideoViTConfig& config, const torch::Tensor& ids) {
  const auto view = nn::cube_view(video, config.tubelet_size, config.patch_size);
  return nn::gather_cubes(view.permute({0, 1, 2, 3, 5, 6, 7, 4}), ids).flatten(2);
}

torch::Tensor uncube(const torch::Tensor& cubes, const nn::VideoViTConfig& config) {
  const auto grid = config.grid();
  return cubes
      .reshape({cubes.size(0), grid.t, grid.h, grid.w, config.tubelet_size, config.patch_size.h,
                config.patch_size.w, config.in_chans})
      .permute({0, 7, 1, 4, 2, 5, 3, 6})
      .reshape({cubes.size(0), config.in_chans, config.num_frames, config.img_size.h, config.img_size.w});
}

std::vector<std::string> cube_norms() { return {"patch_channel", "patch", "none"}; }

CubeUnits cube_units(const torch::Tensor& cubes, int64_t channels, const std::string& norm) {
  if (norm == "none") return {torch::zeros({}, cubes.options()), torch::ones({}, cubes.options())};
  if (norm == "patch") {
    const auto found = patch_statistics(cubes);
    return {found.mean, found.deviation};
  }
  LACUNA_ASSERT(norm == "patch_channel");
  const int64_t P = cubes.size(2);
  const auto by_channel = cubes.unflatten(2, {P / channels, channels});  // [B, K, pixels, C]
  const auto mean = by_channel.mean(2, /*keepdim=*/true);
  const auto deviation = (by_channel - mean)
                             .square()
                             .sum(2, /*keepdim=*/true)
                             .div(static_cast<double>(P / channels - 1))
                             .sqrt() +
                         kDeviationEps;
  const auto for_each_value = [&](const torch::Tensor& x) { return x.expand_as(by_channel).flatten(2); };
  return {for_each_value(mean), for_each_value(deviation)};
}

}  // namespace lacuna::target
