#include "lacuna/mask/hard.h"

#include <algorithm>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

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
  f("type", type,
    "how hidden patches are chosen: hpm, at random or by the teacher; UM-MAE's regular or block pattern")
      .choices({"hpm", "regular", "block"});
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

namespace {

constexpr int64_t kCell = 2;  // side of a cell of the regular mask
constexpr double kPatternRatio = 0.75;

/// [B, h/2, w/2] corners, 0 .. 3 -> [B, h, w] bool, true = stays.
torch::Tensor one_of_each_cell(const torch::Tensor& corner) {
  const auto one = at::one_hot(corner, kCell * kCell);  // [B, h/2, w/2, 4]
  return one.view({corner.size(0), corner.size(1), corner.size(2), kCell, kCell})
      .transpose(2, 3)
      .reshape({corner.size(0), corner.size(1) * kCell, corner.size(2) * kCell})
      .to(torch::kBool);
}

torch::Tensor regular(int64_t samples, Size2 grid, Draws& draws) {
  constexpr int64_t kCorners = kCell * kCell;
  const int64_t cells = grid.area() / kCorners;
  const int64_t rows = (grid.area() / 2 + kCorners - 1) / kCorners * kCorners;
  const auto corner = draws.permutation("regular", samples, rows).slice(1, 0, cells).remainder(kCorners);
  return one_of_each_cell(corner.reshape({samples, grid.h / kCell, grid.w / kCell}));
}

torch::Tensor block(int64_t samples, Size2 grid, Draws& draws) {
  const auto place = draws.uniform("block", {samples, 2});
  const auto inside = [&](int64_t side, int64_t which) {  // [B, side] bool
    const auto begin = (place.select(1, which) * static_cast<double>(side / 2)).floor().unsqueeze(1);
    const auto at = torch::arange(side, torch::kFloat).unsqueeze(0);
    return at.ge(begin).logical_and(at.lt(begin + static_cast<double>(side / 2)));
  };
  return inside(grid.h, 0).unsqueeze(2).logical_and(inside(grid.w, 1).unsqueeze(1));
}

}  // namespace

void check_pattern(const HardConfig& config, Size2 grid) {
  if (config.ratio != kPatternRatio)
    fail(str("mask.ratio ", config.ratio), str("mask.type = ", config.type, " hides three quarters"),
         "use mask.ratio = 0.75");
  if (grid.h % kCell != 0 || grid.w % kCell != 0)
    fail(str("mask.type ", config.type),
         str("the grid of patches, ", grid.h, " x ", grid.w, ", has an odd side"),
         "choose another encoder.img_size or patch_size");
}

Shuffle pattern_shuffle(const HardConfig& config, int64_t samples, Size2 grid, torch::Device device,
                        Draws& draws) {
  const auto stays = config.type == "regular" ? regular(samples, grid, draws) : block(samples, grid, draws);
  const auto hidden = stays.flatten(1).logical_not().to(torch::kByte).to(device);
  return {hidden.argsort(/*stable=*/true, 1, false), grid.area() / (kCell * kCell)};
}

// As the official code has it: the ranks of an argsort, and not of its inverse, are compared.
torch::Tensor blank_visible(const HardConfig& config, int64_t samples, int64_t visible, torch::Device device,
                            Draws& draws) {
  const auto noise = draws.uniform("vis_noise", {samples, visible});
  return noise.argsort(/*stable=*/true, 1, false).ge(kept_patches(visible, config.vis_mask_ratio)).to(device);
}

}  // namespace lacuna::mask
