#pragma once
// Separable antialiased resampling, the arithmetic behind resize() and ImageTransform.

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/data/interpolation.h"
#include "lacuna/data/level_rows.h"
#include "lacuna/io/image.h"

namespace lacuna::data {

/// Antialiased resize of `crop` to `size`, as torchvision.transforms.v2.functional.resize(antialias=True) on
/// tensors: triangle filter (bilinear) or Keys cubic with a = -0.5 (bicubic), support scaled by the
/// reduction, weights normalised inside the picture, columns first. float32 [H, W, C] stays float32 and is
/// not clamped. uint8 is rounded and clamped to whole levels after each of the two passes and its weights are
/// 16-bit fixed-point numbers: torchvision's uint8 figures to the bit (one level beside Pillow in 0.1 to 0.7
/// % of the values).
at::Tensor resize(const at::Tensor& pixels_HWC, const io::Rect& crop, Size2 size,
                  Interpolation interpolation);

/// `crop` of a picture resized to `full`, of which only `window` is computed.
struct Resampling {
  io::Rect crop;
  Size2 full;
  io::Rect window;
  Interpolation interpolation;
  bool pillow = false;  ///< uint8: Image.crop(...).resize(...) to the bit, with weights of 22 bits
};
/// [window.height, window.width, C], row-major; uint8 pictures give whole numbers in 0 .. 255.
std::vector<float> resample(const at::Tensor& pixels_HWC, const Resampling& what);
/// The same of a uint8 picture, row by row: `row` gets y and window.width * C levels that lie there until it
/// returns. `loops`: for tests.
void resample_rows(const at::Tensor& pixels_HWC, const Resampling& what,
                   const std::function<void(int64_t y, const uint8_t* levels)>& row,
                   const RowLoops& loops = row_loops());

}  // namespace lacuna::data
