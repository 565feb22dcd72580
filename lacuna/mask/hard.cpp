#include "lacuna/mask/hard.h"

#include <torch/torch.h>

#include <algorithm>

namespace lacuna::mask {

namespace {

/// [B, n] numbers of the patches to hide -> visible ones first, both parts in raster order.
Shuffle in_raster_order(const torch::Tensor& hidden, int64_t patches) {
  const int64_t B = hidden.size(0);
  const auto is_hidden =
      torch::zeros({B, patches}, hidden.options().dtype(torch::kByte)).scatter_(1, hidden, 1);
  return {is_hidden.argsort(/*stable=*/true, 1, false), patches - hidden.size(1)};
}

}  // namespace

void HardConfig::fields(Fields& f) {
  f("type", type, "how hidden patches are chosen").choices({"hpm"});
  f("ratio", ratio, "share of the patches that is hidden").range(0, 1);
  f("guide", guide, "hide what the teacher predicts to be hard; false: all at random");
  f("hard_start", hard_start, "share of the hidden patches chosen by hardness when training begins")
      .range(0, 1);
  f("hard_end", hard_end, "the same at its end; it moves linearly, epoch by epoch").range(0, 1);
  f("vis_mask_ratio", vis_mask_ratio,
    "share of the visible patches that the encoder sees as a mask token (UM-MAE's secondary masking)")
      .range(0, 1);
}

int64_t hard_count(const HardConfig& config, int64_t hidden, double epoch, double epochs) {
  if (!config.guide) return 0;
  const double done = std::min((epoch + 1) / epochs, 1.0);
  const double alpha = config.hard_start + (config.hard_end - config.hard_start) * done;
  return static_cast<int64_t>(static_cast<double>(hidden) * alpha);
}

Shuffle hard_shuffle(const HardConfig& config, const torch::Tensor& predicted_loss, int64_t hard,
                     Draws& draws) {
  const int64_t B = predicted_loss.size(0), L = predicted_loss.size(1), K = kept_patches(L, config.ratio);
  const auto by_loss = predicted_loss.argsort(/*stable=*/true, 1, false);
  const auto others = std::get<0>(by_loss.slice(1, 0, L - hard).sort(1));
  const auto perm = draws.permutation("perm", B, L - hard).to(others.device());
  const auto at_random = others.gather(1, perm).slice(1, K);
  return in_raster_order(torch::cat({by_loss.slice(1, L - hard), at_random}, 1), L);
}

Shuffle easy_shuffle(const HardConfig& config, int64_t samples, int64_t patches, torch::Device device,
                     Draws& draws) {
  const auto order = draws.normal("noise", {samples, patches}).argsort(/*stable=*/true, 1, false);
  return in_raster_order(order.slice(1, kept_patches(patches, config.ratio)).to(device), patches);
}

// As the official code has it: the ranks of an argsort, and not of its inverse, are compared.
torch::Tensor blank_visible(const HardConfig& config, int64_t samples, int64_t visible, torch::Device device,
                            Draws& draws) {
  const auto noise = draws.uniform("vis_noise", {samples, visible});
  return noise.argsort(/*stable=*/true, 1, false).ge(kept_patches(visible, config.vis_mask_ratio)).to(device);
}

}  // namespace lacuna::mask
