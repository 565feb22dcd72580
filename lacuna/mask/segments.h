#pragma once
// Pictures cut into regions that are removed or kept as a whole.

#include <ATen/core/Tensor.h>

#include "lacuna/core/config.h"

namespace lacuna::mask {

/// [H, W] int64: cells of `cell` pixels numbered in raster order from 0; the last row and column of cells may
/// be smaller.
at::Tensor grid_segments(Size2 image, Size2 cell);

/// Keys of slic().
struct SlicConfig {
  int64_t segments = 100;   ///< wanted; the result has about as many
  double compactness = 10;  ///< weight of nearness against likeness of colour
  int64_t iterations = 10;  ///< of k-means, at most
};

/// Simple linear iterative clustering (Achanta et al., "SLIC Superpixels Compared to State-of-the-Art
/// Superpixel Methods", TPAMI 2012) with scikit-image's choices (segmentation.slic): values stretched to [0,
/// 1], CIELAB for three channels, centres on a regular grid without a colour at first, connected regions of
/// half to three times the mean size. image [C, H, W] float; -> [H, W] int64, numbers from 0 in raster order
/// of first appearance.
at::Tensor slic(const at::Tensor& image, const SlicConfig& config);

}  // namespace lacuna::mask
