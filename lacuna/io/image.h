#pragma once
// Pictures: JPEG (libjpeg-turbo), PNG (libpng), TIFF (libtiff) and NumPy .npy arrays, told apart by content.

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/io/file.h"

namespace lacuna::io {

/// A decoded picture. 8-bit: uint8, peak 255. 16-bit: float32 holding 0 .. 65535, peak 65535.
/// Floating-point files: float32 as stored, peak 1. Divide by peak to get [0, 1].
struct Image {
  at::Tensor pixels;  ///< [H, W, C], contiguous
  float peak = 255;
  int64_t height() const { return pixels.size(0); }    ///< H
  int64_t width() const { return pixels.size(1); }     ///< W
  int64_t channels() const { return pixels.size(2); }  ///< C
};

/// What a picture's header says.
struct ImageInfo {
  std::string format;  ///< "jpeg", "png", "tiff", "npy"
  int64_t height = 0, width = 0, channels = 0;
  int bits = 8;                                      ///< of a sample: 8, 16 or 32 (float)
  int64_t pixels() const { return height * width; }  ///< not checked against overflow: see ImageLimits
};

/// Against image bombs: a picture whose header says more than this is refused before anything is allocated.
struct ImageLimits {
  int64_t max_pixels = int64_t{1} << 28;  ///< height * width
  int64_t max_bytes = int64_t{4} << 30;   ///< decoded size
};

/// A rectangle in pixels: rows top .. top+height-1, columns left .. left+width-1.
struct Rect {
  int64_t top = 0, left = 0, height = 0, width = 0;
  bool operator==(const Rect&) const = default;
};

/// Reads the header only. `name` is what errors call the picture. Error when the bytes are no known format.
ImageInfo probe_image(Bytes bytes, const std::string& name);

/// Decodes the whole picture. JPEG: grey stays 1 channel, colour 3, CMYK is converted to RGB. PNG: palettes
/// are expanded, alpha kept (2 or 4 channels), 1/2/4 bits widened to 8. TIFF: 8/16 bit and float, any number
/// of bands, grey or RGB, chunky or planar, strips or tiles. npy: uint8, uint16, float32, [H,W], [H,W,C] or
/// [C,H,W] (C first when the first dimension is the smallest). EXIF orientation is not applied, as in
/// torchvision's default loader. Error on truncated or broken data: a picture is whole or an error.
Image decode_image(Bytes bytes, const std::string& name, const ImageLimits& limits = {});

/// Decodes what `crop` needs. A JPEG that is at least twice as large as `target` needs is decoded at 1/2, 1/4
/// or 1/8 (libjpeg's scaled inverse transform), never smaller than `target`; rows below the crop are not
/// decoded. On return `crop` is given in the coordinates of the returned picture.
Image decode_region(Bytes bytes, const std::string& name, Size2 target, Rect& crop,
                    const ImageLimits& limits = {});

/// [H, W, C] uint8 with C = 1, 2, 3 or 4 (or [H, W]); PNG bytes.
std::string encode_png(const at::Tensor& pixels);
/// [H, W, C] uint8 with C = 1 or 3; JPEG bytes, quality 1 .. 100.
std::string encode_jpeg(const at::Tensor& pixels, int quality);

}  // namespace lacuna::io
