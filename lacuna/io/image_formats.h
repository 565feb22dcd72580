#pragma once
// The formats behind image.h, one file each. Internal: include image.h instead.

#include "lacuna/core/error.h"
#include "lacuna/io/image.h"

namespace lacuna::io {

/// One format: `matches` looks at the first bytes, the others may assume that it held.
struct ImageFormat {
  const char* name;
  bool (*matches)(Bytes bytes);
  ImageInfo (*probe)(Bytes bytes, const std::string& name);
  Image (*decode)(Bytes bytes, const std::string& name, const ImageLimits& limits);
};

extern const ImageFormat kJpegFormat, kPngFormat, kTiffFormat, kNpyFormat;

Image decode_jpeg_region(Bytes bytes, const std::string& name, Size2 target, Rect& crop,
                         const ImageLimits& limits);

[[noreturn]] inline void broken_image(const std::string& name, const std::string& why) {
  fail(name, why, "remove or replace the file");
}

inline bool begins_with(Bytes bytes, std::string_view magic) {
  return bytes.size() >= magic.size() &&
         std::string_view(reinterpret_cast<const char*>(bytes.data()), magic.size()) == magic;
}

/// Refuses empty pictures and those above the limits; called before pixels are allocated.
void check_limits(const ImageInfo& info, const std::string& name, const ImageLimits& limits);

/// 16-bit samples as float32 [H, W, C] with peak 65535.
Image image_from_uint16(const uint16_t* samples, const ImageInfo& info);

}  // namespace lacuna::io
