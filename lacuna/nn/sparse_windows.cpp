#include "lacuna/nn/sparse_windows.h"

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna::nn {

namespace {

/// Windows beside each other: those of the grid and one for the shift.
int64_t windows_along(int64_t cells, int64_t window) { return (cells + window - 1) / window + 1; }

/// Windows by number, the tokens of each, in the order of `window`'s sorted values.
struct Sorted {
  Tensor order;         ///< [N]: stable
  Tensor group, count;  ///< [N]: window's rank of each sorted token; [W]
  Tensor begin;         ///< [W]: first sorted token of each window
};

Sorted sort_windows(const Tensor& window) {
  const auto order = std::get<1>(at::sort(window, /*stable=*/true, 0, /*descending=*/false));
  const auto [unique, group, count] =
      at::unique_consecutive(window.index_select(0, order), /*return_inverse=*/true, /*return_counts=*/true);
  return {order, group, count, count.cumsum(0) - count};
}

/// x in the order of `order` back to the tokens' own.
Tensor unsorted(const Tensor& x, const Tensor& order) {
  return torch::empty_like(x).index_copy_(0, order, x);
}

Tensor inverse_of(const Tensor& order) {
  return unsorted(torch::arange(order.size(0), order.options()), order);
}

/// Tokens of each token's window.
Tensor window_fill(const Tensor& window) {
  const auto sorted = sort_windows(window);
  return unsorted(sorted.count.index_select(0, sorted.group), sorted.order);
}

/// Whether the levels let each token stay.
Tensor stays(const Tensor& window, const std::vector<WindowLevel>& levels) {
  const auto fill = window_fill(window), rank = rank_in_window(window);
  auto out = torch::zeros_like(window, torch::kBool);
  for (const auto& level : levels)
    out.logical_or_(
        fill.ge(level.from).logical_and_(fill.lt(level.below)).logical_and_(rank.lt(level.tokens)));
  return out;
}

}  // namespace

WindowLayout window_layout(const Tensor& coords, const WindowShape& shape, bool shifted) {
  const int64_t across = windows_along(shape.grid_x, shape.x), down = windows_along(shape.grid_y, shape.y);
  const auto x = coords.select(1, 3) + (shifted ? shape.x - shape.x / 2 : 0);
  const auto y = coords.select(1, 2) + (shifted ? shape.y - shape.y / 2 : 0);
  const auto window =
      (coords.select(1, 0) * across + x.floor_divide(shape.x)) * down + y.floor_divide(shape.y);
  return {window, torch::stack({x.remainder(shape.x), y.remainder(shape.y)}, 1)};
}

Tensor rank_in_window(const Tensor& window) {
  // The official code numbers tokens by a sort that keeps no order among equals; to drop the same ones, so
  // does this.
  const auto [sorted, order] = at::sort(window, 0, /*descending=*/false);
  const auto [unique, group, count] =
      at::unique_consecutive(sorted, /*return_inverse=*/true, /*return_counts=*/true);
  const auto begin = (count.cumsum(0) - count).index_select(0, group);
  return unsorted(torch::arange(window.size(0), window.options()) - begin, order);
}

Tensor kept_tokens(const std::vector<WindowLayout>& layouts, const std::vector<WindowLevel>& levels) {
  auto kept = torch::arange(layouts.front().window.size(0), layouts.front().window.options());
  for (const auto& layout : layouts) {
    const auto stay = stays(layout.window.index_select(0, kept), levels);
    kept = kept.index_select(0, stay.nonzero().squeeze(1));
  }
  return kept;
}

std::vector<Tensor> kept_levels(const std::vector<WindowLayout>& layouts,
                                const std::vector<WindowLevel>& levels) {
  const auto kept = kept_tokens(layouts, levels);
  std::vector<Tensor> out;
  std::vector<WindowLayout> before;
  for (const auto& layout : layouts) {
    const auto there = before.empty() ? torch::arange(layout.window.size(0), layout.window.options())
                                      : kept_tokens(before, levels);
    auto level = torch::full_like(layout.window, -1);
    level.index_copy_(0, there, token_levels(layout.window.index_select(0, there), levels));
    out.push_back(level.index_select(0, kept));
    before.push_back(layout);
  }
  return out;
}

Tensor token_levels(const Tensor& window, const std::vector<WindowLevel>& levels) {
  const auto fill = window_fill(window);
  auto out = torch::full_like(window, -1);
  for (size_t i = 0; i < levels.size(); ++i)
    out.masked_fill_(fill.ge(levels[i].from).logical_and_(fill.lt(levels[i].below)), static_cast<int64_t>(i));
  return out;
}

namespace {

/// Windows that share a number: of their level, or of their tokens.
struct Batching {
  Tensor kind;                  ///< [W]
  std::vector<int64_t> tokens;  ///< places of each kind
};

Batching batching_of(const Tensor& count, const std::vector<WindowLevel>& levels) {
  Batching out;
  if (levels.empty()) {
    const auto [sizes, kind, windows] = at::_unique2(count, /*sorted=*/true, /*return_inverse=*/true, false);
    const auto on_host = sizes.cpu();
    out.kind = kind;
    out.tokens.assign(on_host.const_data_ptr<int64_t>(), on_host.const_data_ptr<int64_t>() + sizes.numel());
    return out;
  }
  out.kind = torch::full_like(count, -1);
  for (const auto& level : levels) {
    out.kind.masked_fill_(count.ge(level.from).logical_and_(count.lt(level.below)), std::ssize(out.tokens));
    out.tokens.push_back(level.tokens);
  }
  return out;
}

}  // namespace

RegionBatches region_batches(const Tensor& window, const std::vector<WindowLevel>& levels) {
  RegionBatches out;
  const auto sorted = sort_windows(window);
  const auto batching = batching_of(sorted.count, levels);
  const auto kinds = std::ssize(batching.tokens);
  const auto token_kind = batching.kind.index_select(0, sorted.group);  // [N], in sorted order
  const auto by_kind = std::get<1>(at::sort(token_kind, /*stable=*/true, 0, /*descending=*/false));
  out.order = sorted.order.index_select(0, by_kind);
  out.inverse = inverse_of(out.order);

  const auto windows = torch::bincount(batching.kind, {}, kinds).cpu();
  const auto tokens = torch::bincount(token_kind, {}, kinds).cpu();
  const auto group = sorted.group.index_select(0, by_kind);
  const auto rank = by_kind - sorted.begin.index_select(0, group);  // of each token in its window
  int64_t first = 0;
  for (int64_t kind = 0; kind < kinds; ++kind) {
    RegionBatch batch{.windows = windows[kind].item<int64_t>(),
                      .tokens = batching.tokens[static_cast<size_t>(kind)],
                      .first = first,
                      .count = tokens[kind].item<int64_t>()};
    first += batch.count;
    if (batch.count == 0) continue;
    if (batch.count < batch.windows * batch.tokens) {
      const auto number = std::get<1>(at::unique_consecutive(group.slice(0, batch.first, first), true));
      batch.place = number * batch.tokens + rank.slice(0, batch.first, first);
      batch.filled = torch::zeros({batch.windows * batch.tokens}, window.options().dtype(torch::kBool))
                         .index_fill_(0, batch.place, true)
                         .view({batch.windows, batch.tokens});
    }
    out.batches.push_back(std::move(batch));
  }
  return out;
}

Tensor window_positions(const Tensor& in_window, const WindowShape& shape, int64_t dim, double temperature,
                        bool normalised) {
  LACUNA_ASSERT(dim % 4 == 0);
  constexpr double kHalfTurn = 3.1415;  // as the official code has it
  const int64_t half = dim / 2;
  const auto options = torch::TensorOptions(torch::kFloat).device(in_window.device());
  const auto exponent = 2 * torch::arange(half, options).div(2).floor() / static_cast<double>(half);
  const auto period = torch::pow(temperature, exponent);
  const auto waves = [&](int64_t axis, int64_t size) {
    auto at = in_window.select(1, axis).to(torch::kFloat) - static_cast<double>(size) / 2;
    if (normalised) at = at / static_cast<double>(size) * 2 * kHalfTurn;
    const auto angle = at.unsqueeze(1) / period;  // [N, half]; channels come in pairs of equal period
    return torch::stack({angle.slice(1, 0, half, 2).sin(), angle.slice(1, 1, half, 2).cos()}, 2).flatten(1);
  };
  return torch::cat({waves(0, shape.x), waves(1, shape.y)}, 1);
}

}  // namespace lacuna::nn
