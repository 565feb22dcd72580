#include "lacuna/mask/pillars.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace lacuna::mask {

void PillarMaskConfig::fields(Fields& f) {
  f("ratio", ratio, "share of the non-empty pillars that is hidden").range(0, 1);
  f("of", of,
    "which pillars may be hidden: all, those that hold a labelled point, or one of another class than the "
    "first, the background")
      .choices({"all", "labelled", "foreground"});
}

PillarMask mask_pillars(const PillarMaskConfig& config, const std::vector<int64_t>& counts,
                        const at::Tensor& open, Draws& draws) {
  const auto clouds = std::ssize(counts);
  const int64_t most = counts.empty() ? 0 : *std::max_element(counts.begin(), counts.end());
  const auto numbers = draws.uniform("mask", {clouds, most});
  const auto may = open.defined() ? open.cpu() : at::Tensor();
  const auto none = at::empty({0}, at::kLong);
  std::vector<at::Tensor> keep{none}, hide{none};
  int64_t first = 0;
  for (int64_t b = 0; b < clouds; ++b) {
    const int64_t count = counts[static_cast<size_t>(b)];
    auto rows = at::arange(first, first + count, at::kLong);
    at::Tensor always = none;
    if (may.defined()) {
      const auto here = may.slice(0, first, first + count);
      always = rows.index_select(0, here.logical_not().nonzero().squeeze(1));
      rows = rows.index_select(0, here.nonzero().squeeze(1));
    }
    const int64_t L = rows.numel();
    const auto order = std::get<1>(at::sort(numbers[b].slice(0, 0, L), /*stable=*/true, 0, false));
    const auto kept = static_cast<int64_t>(static_cast<double>(L) * (1 - config.ratio));
    keep.push_back(rows.index_select(0, order.slice(0, 0, kept)));
    keep.push_back(always);
    hide.push_back(rows.index_select(0, order.slice(0, kept)));
    first += count;
  }
  return {at::cat(keep), at::cat(hide)};
}

at::Tensor numbers_of_permutation(const at::Tensor& permutation) {
  const int64_t L = permutation.size(1);
  auto out = at::ones(permutation.sizes(), at::kFloat);
  const auto place = at::arange(L, at::kFloat).div(static_cast<double>(L));
  for (int64_t b = 0; b < permutation.size(0); ++b) {
    const auto there = permutation[b].ge(0).nonzero().squeeze(1);
    out[b].index_copy_(0, permutation[b].index_select(0, there), place.index_select(0, there));
  }
  return out;
}

}  // namespace lacuna::mask
