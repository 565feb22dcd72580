#include "lacuna/io/image.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>

#include "lacuna/core/error.h"
#include "lacuna/io/image_formats.h"

namespace lacuna::io {

namespace {

const ImageFormat& format_of(Bytes bytes, const std::string& name) {
  for (const ImageFormat* format : {&kJpegFormat, &kPngFormat, &kTiffFormat, &kNpyFormat})
    if (format->matches(bytes)) return *format;
  if (bytes.empty()) broken_image(name, "the file is empty");
  fail(name, "not a JPEG, PNG, TIFF or npy picture", "remove or convert the file");
}

}  // namespace

void check_limits(const ImageInfo& info, const std::string& name, const ImageLimits& limits) {
  if (info.height <= 0 || info.width <= 0 || info.channels <= 0)
    broken_image(
        name, str("its header says ", info.height, "x", info.width, " pixels, ", info.channels, " channels"));
  const int64_t sample_bytes = info.bits <= 8 ? 1 : 4;
  int64_t pixels = 0, bytes = 0;
  if (__builtin_mul_overflow(info.height, info.width, &pixels) || pixels > limits.max_pixels)
    fail(name,
         str("its header says ", info.height, "x", info.width, " pixels, the limit is ", limits.max_pixels),
         "raise the limit if the picture is meant to be so large, else remove it");
  if (__builtin_mul_overflow(info.channels, sample_bytes, &bytes) ||
      __builtin_mul_overflow(bytes, pixels, &bytes) || bytes > limits.max_bytes)
    fail(name,
         str("its ", info.channels, " channels would take more than the limit of ", limits.max_bytes,
             " bytes"),
         "raise the limit if the picture is meant to be so large, else remove it");
}

Image image_from_uint16(const uint16_t* samples, const ImageInfo& info) {
  Image out{at::empty({info.height, info.width, info.channels}, at::kFloat), 65535};
  std::copy_n(samples, out.pixels.numel(), out.pixels.mutable_data_ptr<float>());
  return out;
}

ImageInfo probe_image(Bytes bytes, const std::string& name) {
  return format_of(bytes, name).probe(bytes, name);
}

Image decode_image(Bytes bytes, const std::string& name, const ImageLimits& limits) {
  return format_of(bytes, name).decode(bytes, name, limits);
}

Image decode_region(Bytes bytes, const std::string& name, Size2 target, Rect& crop,
                    const ImageLimits& limits) {
  if (kJpegFormat.matches(bytes)) return decode_jpeg_region(bytes, name, target, crop, limits);
  return decode_image(bytes, name, limits);
}

}  // namespace lacuna::io
