#include <ATen/ATen.h>
#include <tiffio.h>

#include <algorithm>
#include <cstdarg>
#include <cstring>

#include "lacuna/io/image_formats.h"

namespace lacuna::io {

namespace {

/// A TIFF in memory, as libtiff's client callbacks want it.
struct Source {
  Bytes bytes;
  size_t position = 0;
  std::string message;
};

Source& source_of(thandle_t handle) { return *static_cast<Source*>(handle); }

tsize_t read_source(thandle_t handle, void* out, tsize_t size) {
  Source& source = source_of(handle);
  if (size <= 0 || source.position >= source.bytes.size()) return 0;
  const size_t count = std::min(static_cast<size_t>(size), source.bytes.size() - source.position);
  std::memcpy(out, source.bytes.data() + source.position, count);
  source.position += count;
  return static_cast<tsize_t>(count);
}

tsize_t refuse_write(thandle_t, void*, tsize_t) { return -1; }

toff_t seek_source(thandle_t handle, toff_t offset, int whence) {
  Source& source = source_of(handle);
  source.position = offset + (whence == SEEK_CUR   ? source.position
                              : whence == SEEK_END ? source.bytes.size()
                                                   : 0);
  return source.position;
}

int close_source(thandle_t) { return 0; }
toff_t size_of_source(thandle_t handle) { return source_of(handle).bytes.size(); }

int map_source(thandle_t handle, void** base, toff_t* size) {
  *base = const_cast<std::byte*>(source_of(handle).bytes.data());
  *size = source_of(handle).bytes.size();
  return 1;
}

void unmap_source(thandle_t, void*, toff_t) {}

int on_error(TIFF*, void* user, const char*, const char* format, va_list arguments) {
  std::string& message = static_cast<Source*>(user)->message;
  if (!message.empty()) return 1;  // the first tells most
  char text[200];
  std::vsnprintf(text, sizeof text, format, arguments);
  message = text;
  return 1;
}

int on_warning(TIFF*, void*, const char*, const char*, va_list) { return 1; }

class TiffReader {
 public:
  TiffReader(Bytes bytes, std::string name, const ImageLimits& limits)
      : source_{bytes, 0, {}}, name_(std::move(name)), limits_(limits) {
    const std::unique_ptr<TIFFOpenOptions, decltype(&TIFFOpenOptionsFree)> options(TIFFOpenOptionsAlloc(),
                                                                                   TIFFOpenOptionsFree);
    TIFFOpenOptionsSetErrorHandlerExtR(options.get(), on_error, &source_);
    TIFFOpenOptionsSetWarningHandlerExtR(options.get(), on_warning, nullptr);
    TIFFOpenOptionsSetMaxSingleMemAlloc(options.get(), limits.max_bytes);
    tiff_.reset(TIFFClientOpenExt(name_.c_str(), "r", &source_, read_source, refuse_write, seek_source,
                                  close_source, size_of_source, map_source, unmap_source, options.get()));
    if (tiff_ == nullptr) broken();
  }

  ImageInfo info() {
    if (photometric() == PHOTOMETRIC_YCBCR && tag16(TIFFTAG_COMPRESSION) == COMPRESSION_JPEG)
      TIFFSetField(tiff_.get(), TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
    else if (photometric() > PHOTOMETRIC_RGB)
      fail(name_, "a TIFF whose colours are neither grey levels nor RGB (palette, CMYK, YCbCr, Lab)",
           "convert it to RGB");
    uint32_t height = 0, width = 0;
    TIFFGetField(tiff_.get(), TIFFTAG_IMAGELENGTH, &height);
    TIFFGetField(tiff_.get(), TIFFTAG_IMAGEWIDTH, &width);
    const int bits = tag16(TIFFTAG_BITSPERSAMPLE), kind = tag16(TIFFTAG_SAMPLEFORMAT);
    const bool supported =
        kind == SAMPLEFORMAT_IEEEFP ? bits == 32 : kind == SAMPLEFORMAT_UINT && (bits == 8 || bits == 16);
    if (!supported)
      fail(name_, str("a TIFF of ", bits, " bits, sample format ", kind),
           "save it as 8 or 16 bit or float32");
    return {"tiff", height, width, tag16(TIFFTAG_SAMPLESPERPIXEL), bits};
  }

  Image decode() {
    const ImageInfo info = this->info();
    check_limits(info, name_, limits_);
    // A few bytes can't hold gigapixels: no codec of TIFF packs better than this, so nothing larger is
    // allocated.
    constexpr int64_t kMaxRatio = int64_t{1} << 15;
    const int64_t size = info.pixels() * info.channels * (info.bits / 8);
    if (size / kMaxRatio > static_cast<int64_t>(source_.bytes.size()))
      broken_image(name_, "the TIFF is cut short");
    const auto pixels = at::empty({info.height, info.width, info.channels * (info.bits / 8)}, at::kByte);
    if (TIFFIsTiled(tiff_.get()))
      read_tiles(info, pixels.mutable_data_ptr<uint8_t>());
    else
      read_strips(info, pixels.mutable_data_ptr<uint8_t>());
    return finish(pixels, info);
  }

 private:
  [[noreturn]] void broken() const {
    broken_image(name_, str("broken TIFF (", source_.message.empty() ? "cut short" : source_.message, ")"));
  }

  int tag16(uint32_t tag) const {
    uint16_t value = 0;
    TIFFGetFieldDefaulted(tiff_.get(), tag, &value);
    return value;
  }

  int photometric() const { return tag16(TIFFTAG_PHOTOMETRIC); }
  bool planar() const { return tag16(TIFFTAG_PLANARCONFIG) == PLANARCONFIG_SEPARATE; }

  std::vector<uint8_t> buffer(tmsize_t size) const {
    if (size <= 0 || size > limits_.max_bytes)
      broken_image(name_, "the TIFF's strips or tiles have no sensible size");
    return std::vector<uint8_t>(static_cast<size_t>(size));
  }

  /// Copies a decoded block of rows into the picture; `plane` is its band, or -1 when all bands lie together.
  static void place(const uint8_t* block, int64_t block_width, const Rect& at, int plane,
                    const ImageInfo& info, uint8_t* out) {
    const int64_t sample = info.bits / 8, pixel = sample * info.channels;
    const int64_t block_pixel = plane < 0 ? pixel : sample;
    for (int64_t y = 0; y < at.height; ++y) {
      const uint8_t* from = block + y * block_width * block_pixel;
      uint8_t* to = out + ((at.top + y) * info.width + at.left) * pixel + std::max(plane, 0) * sample;
      if (plane < 0)
        std::memcpy(to, from, static_cast<size_t>(at.width * pixel));
      else
        for (int64_t x = 0; x < at.width; ++x)
          std::memcpy(to + x * pixel, from + x * sample, static_cast<size_t>(sample));
    }
  }

  void read_strips(const ImageInfo& info, uint8_t* out) {
    uint32_t rows_per_strip = 0;
    TIFFGetFieldDefaulted(tiff_.get(), TIFFTAG_ROWSPERSTRIP, &rows_per_strip);
    const int64_t rows = std::clamp<int64_t>(rows_per_strip, 1, info.height);
    const int64_t row_bytes = info.width * (info.bits / 8) * (planar() ? 1 : info.channels);
    auto strip = buffer(rows * row_bytes);
    const int planes = planar() ? static_cast<int>(info.channels) : 1;
    for (int plane = 0; plane < planes; ++plane)
      for (int64_t top = 0; top < info.height; top += rows) {
        const int64_t height = std::min(rows, info.height - top);
        const auto index =
            TIFFComputeStrip(tiff_.get(), static_cast<uint32_t>(top), static_cast<uint16_t>(plane));
        if (TIFFReadEncodedStrip(tiff_.get(), index, strip.data(), height * row_bytes) != height * row_bytes)
          broken();
        place(strip.data(), info.width, {top, 0, height, info.width}, planar() ? plane : -1, info, out);
      }
  }

  void read_tiles(const ImageInfo& info, uint8_t* out) {
    uint32_t tile_height = 0, tile_width = 0;
    TIFFGetField(tiff_.get(), TIFFTAG_TILELENGTH, &tile_height);
    TIFFGetField(tiff_.get(), TIFFTAG_TILEWIDTH, &tile_width);
    const int64_t pixel_bytes = (info.bits / 8) * (planar() ? 1 : info.channels);
    const tmsize_t size = TIFFTileSize(tiff_.get());
    if (tile_height == 0 || tile_width == 0 || size != int64_t{tile_height} * tile_width * pixel_bytes)
      broken();
    auto tile = buffer(size);
    const int planes = planar() ? static_cast<int>(info.channels) : 1;
    for (int plane = 0; plane < planes; ++plane)
      for (int64_t top = 0; top < info.height; top += tile_height)
        for (int64_t left = 0; left < info.width; left += tile_width) {
          const auto index = TIFFComputeTile(tiff_.get(), static_cast<uint32_t>(left),
                                             static_cast<uint32_t>(top), 0, static_cast<uint16_t>(plane));
          if (TIFFReadEncodedTile(tiff_.get(), index, tile.data(), size) != size) broken();
          const Rect at{top, left, std::min<int64_t>(tile_height, info.height - top),
                        std::min<int64_t>(tile_width, info.width - left)};
          place(tile.data(), tile_width, at, planar() ? plane : -1, info, out);
        }
  }

  Image finish(const at::Tensor& bytes, const ImageInfo& info) const {
    Image out;
    if (info.bits == 16)
      out = image_from_uint16(reinterpret_cast<const uint16_t*>(bytes.const_data_ptr<uint8_t>()), info);
    else
      out = {info.bits == 8 ? bytes : bytes.view(at::kFloat), info.bits == 8 ? 255.0F : 1.0F};
    if (photometric() == PHOTOMETRIC_MINISWHITE)
      out.pixels = info.bits == 8 ? out.pixels.bitwise_not() : static_cast<double>(out.peak) - out.pixels;
    return out;
  }

  struct Close {
    void operator()(TIFF* tiff) const { TIFFClose(tiff); }
  };

  Source source_;
  std::string name_;
  ImageLimits limits_;
  std::unique_ptr<TIFF, Close> tiff_;
};

bool matches(Bytes bytes) {
  using namespace std::string_view_literals;
  return begins_with(bytes, "II*\0"sv) || begins_with(bytes, "MM\0*"sv) || begins_with(bytes, "II+\0"sv) ||
         begins_with(bytes, "MM\0+"sv);
}

ImageInfo probe(Bytes bytes, const std::string& name) { return TiffReader(bytes, name, {}).info(); }

Image decode(Bytes bytes, const std::string& name, const ImageLimits& limits) {
  return TiffReader(bytes, name, limits).decode();
}

}  // namespace

const ImageFormat kTiffFormat{"tiff", matches, probe, decode};

}  // namespace lacuna::io
