#pragma once
// Pillow's picture operations, to the bit: what ImageOps, ImageEnhance and Image.rotate/transform make of "L"
// and "RGB" pictures. Plain loops over plain memory, for loader threads.

#include <array>
#include <cstdint>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/data/interpolation.h"

namespace lacuna::data {

/// A picture in work: [height, width, channels], row by row. Operations that can't work in place write into
/// `spare` and swap, so that a chain of them allocates once.
template <class T>
struct Pixels {
  int64_t height = 0, width = 0, channels = 0;
  std::vector<T> values, spare = {};
};
using Levels = Pixels<uint8_t>;

// ImageOps, any number of channels, each for itself.
void auto_contrast(Levels& picture);  ///< stretches each channel to 0 .. 255
void equalize(Levels& picture);       ///< flattens each channel's histogram
void invert(Levels& picture);
void posterize(Levels& picture, int64_t bits);      ///< keeps the upper `bits` of 0 .. 8
void solarize(Levels& picture, int64_t threshold);  ///< inverts levels from `threshold` on
/// Adds to the levels below 128; up to 255.
void solarize_add(Levels& picture, int64_t add);

// ImageEnhance, 1 or 3 channels: blends towards factor 0 (grey, the mean grey, black, smoothed); factor 1
// changes nothing, more goes away from it.
void color(Levels& picture, double factor);
void contrast(Levels& picture, double factor);
void brightness(Levels& picture, double factor);
void sharpness(Levels& picture, double factor);

/// Output pixel (x, y) is read at (a x + b y + c, d x + e y + f), pixel centres at halves.
struct Affine {
  double a = 1, b = 0, c = 0, d = 0, e = 1, f = 0;
};
/// Counter-clockwise around the centre, as Image.rotate.
Affine rotation(double degrees, Size2 size);
/// Image.transform(size, AFFINE, ...): 4 or 16 neighbours without antialiasing, clamped at the border; `fill`
/// (a value for each channel) where the place read lies outside. uint8 is truncated to whole levels as Pillow
/// does; float stays as computed.
template <class T>
void warp(Pixels<T>& picture, const Affine& map, Interpolation interpolation, const std::vector<T>& fill);
extern template void warp(Levels&, const Affine&, Interpolation, const std::vector<uint8_t>&);
extern template void warp(Pixels<float>&, const Affine&, Interpolation, const std::vector<float>&);

}  // namespace lacuna::data
