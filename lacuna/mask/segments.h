#pragma once
// Pictures cut into regions that are removed or kept as a whole.

#include <ATen/core/Tensor.h>

#include "lacuna/core/config.h"

namespace lacuna::mask {

/// [H, W] int64: cells of `cell` pixels numbered in raster order from 0; the last row and column of cells may
/// be smaller.
at::Tensor grid_segments(Size2 image, Size2 cell);

/// sRGB in [0, 1] -> CIELAB under D65. [3, H, W] double.
at::Tensor to_lab(const at::Tensor& rgb);

/// An image's values stretched to [0, 1] and, for three channels, in CIELAB: what the segmentations compare.
/// [C, H, W] double on the host.
at::Tensor stretched_colour(const at::Tensor& image);

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

/// Keys of quickshift(); the defaults are LIME's.
struct QuickshiftConfig {
  double kernel_size = 4;  ///< deviation of the density's kernel, in pixels; larger: fewer regions
  double max_dist = 200;   ///< the longest step that joins two pixels; larger: fewer regions
  double ratio = 0.2;      ///< weight of colour against place, 0 to 1
};

/// Quick shift (Vedaldi & Soatto, "Quick Shift and Kernel Methods for Mode Seeking", ECCV 2008) over place
/// and colour: each pixel steps to its nearest neighbour of higher density (within three deviations) until
/// there is none nearer than max_dist. As scikit-image's segmentation.quickshift, but that of equal densities
/// the earlier pixel's is the higher (there noise decides). Values stretched to [0, 1], CIELAB for three
/// channels. image [C, H, W] float; -> [H, W] int64, numbers from 0 in raster order of the regions' densest
/// pixels.
at::Tensor quickshift(const at::Tensor& image, const QuickshiftConfig& config);

}  // namespace lacuna::mask
