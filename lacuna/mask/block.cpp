#include "lacuna/mask/block.h"

#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna::mask {

namespace {

int64_t hidden_cells(int64_t cells, double ratio) {
  return static_cast<int64_t>(std::ceil(static_cast<double>(cells) * ratio));
}

}  // namespace

void BlockConfig::fields(Fields& f) {
  f("type", type, "how hidden patches are chosen").choices({"simmim"});
  f("mask_patch_size", mask_patch_size, "side of a hidden cell in pixels").range(1);
  f("ratio", ratio, "share of the cells that is hidden").range(0, 1);
}

void check_blocks(const BlockConfig& config, Size2 img_size, Size2 patch_size) {
  const int64_t cell = config.mask_patch_size;
  if (cell % patch_size.h != 0 || cell % patch_size.w != 0)
    fail(str("mask.mask_patch_size ", cell), str("no multiple of the patch's ", patch_size),
         str("use ", std::max(patch_size.h, patch_size.w), " or a multiple of it"));
  if (img_size.h % cell != 0 || img_size.w % cell != 0)
    fail(str("mask.mask_patch_size ", cell), str("does not divide the picture's ", img_size),
         "choose a cell that divides both sides, or another encoder.img_size");
  const int64_t cells = img_size.h / cell * (img_size.w / cell), hidden = hidden_cells(cells, config.ratio);
  if (hidden < 1 || hidden >= cells)
    fail(str("mask.ratio ", config.ratio), str("of ", cells, " cells it hides ", hidden < 1 ? "none" : "all"),
         "choose another ratio or a smaller mask.mask_patch_size");
}

torch::Tensor random_blocks(const BlockConfig& config, int64_t samples, Size2 img_size, Size2 patch_size,
                            Draws& draws) {
  const Size2 cells{img_size.h / config.mask_patch_size, img_size.w / config.mask_patch_size};
  const auto perm = draws.permutation("perm", samples, cells.area());
  const auto chosen = perm.slice(1, 0, hidden_cells(cells.area(), config.ratio));
  return torch::zeros({samples, cells.area()}, torch::kBool)
      .scatter_(1, chosen, true)
      .view({samples, cells.h, cells.w})
      .repeat_interleave(config.mask_patch_size / patch_size.h, 1)
      .repeat_interleave(config.mask_patch_size / patch_size.w, 2);
}

}  // namespace lacuna::mask
