#pragma once
// Sparse windows: which occupied cells attend to each other, and how windows of unlike fill are computed
// together (SST: Fan et al., "Embracing single stride 3D object detector with sparse transformer", CVPR 2022,
// "regional grouping" and "region batching").

#include <torch/types.h>

#include <vector>

#include "lacuna/core/config.h"

namespace lacuna::nn {

using torch::Tensor;

/// Windows of `w` x `h` cells (x, y) on a grid of cells; `grid` counts them along x and y.
struct WindowShape {
  int64_t x = 12, y = 12;
  int64_t grid_x = 400, grid_y = 400;
};

/// One way of cutting the plane. N tokens.
struct WindowLayout {
  Tensor window;     ///< [N] int64: number of each token's window, unique over the batch
  Tensor in_window;  ///< [N, 2] int64: x, y inside of it
};
/// coords [N, 4] int64: cloud, z, y, x. Shifted: windows begin half a window (rounded down) earlier.
WindowLayout window_layout(const Tensor& coords, const WindowShape& shape, bool shifted);

/// Windows of `from` .. `below`-1 tokens are computed as if they had `tokens`; what they have more is
/// dropped.
struct WindowLevel {
  int64_t tokens, from, below;
};

/// Tokens that remain when each level drops what is too much, first of the layout without shift, then of the
/// shifted one: their rows, rising. Those with the highest rank_in_window go.
Tensor kept_tokens(const std::vector<WindowLayout>& layouts, const std::vector<WindowLevel>& levels);
/// Levels of the kept tokens in each layout, [K] int64: a layout's by what the layouts before it left.
std::vector<Tensor> kept_levels(const std::vector<WindowLayout>& layouts,
                                const std::vector<WindowLevel>& levels);
/// Level of each token, [N] int64, by the number of tokens of its window.
Tensor token_levels(const Tensor& window, const std::vector<WindowLevel>& levels);
/// Number of each token in its window, from 0, [N] int64: in the order of at::sort, as officially.
Tensor rank_in_window(const Tensor& window);

/// Windows that are computed in one go.
struct RegionBatch {
  int64_t windows = 0, tokens = 0;  ///< W windows of T places
  int64_t first = 0, count = 0;     ///< their tokens, in the order of RegionBatches
  Tensor place;   ///< [count] int64: place of each in [0, W * T); undefined: one after the other
  Tensor filled;  ///< [W, T] bool; undefined: all are
};

/// All windows of a layout, in batches.
struct RegionBatches {
  Tensor order, inverse;  ///< [N] int64: rows in the order of the batches, and back
  std::vector<RegionBatch> batches;
};
/// `levels` empty: windows of equally many tokens together, without padding.
RegionBatches region_batches(const Tensor& window, const std::vector<WindowLevel>& levels);

/// Sine and cosine of the place inside the window, [N, dim]: half of the channels for x, half for y, counted
/// from the window's middle; `normalised`: in half turns of the window. dim is a multiple of 4.
Tensor window_positions(const Tensor& in_window, const WindowShape& shape, int64_t dim, double temperature,
                        bool normalised);

}  // namespace lacuna::nn
