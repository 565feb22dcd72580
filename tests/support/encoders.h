#pragma once
// Pictures of kinds that lacuna reads but does not write, made by libjpeg, libpng and libtiff at test time.

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>
// jpeglib.h needs FILE from <cstdio>.
#include <jpeglib.h>
#include <png.h>
#include <tiffio.h>

namespace lacuna::testing {

// --- PNG -------------------------------------------------------------------------------------------------

/// How a PNG stores its samples. `palette` is for PNG_COLOR_TYPE_PALETTE; `alpha` holds the palette's
/// opacities, `transparent` the grey level that stands for "nothing here" (-1: none).
struct PngKind {
  int color_type = PNG_COLOR_TYPE_RGB;
  int bits = 8;
  bool interlaced = false;
  std::vector<png_color> palette = {};
  std::vector<png_byte> alpha = {};
  int transparent = -1;
};

/// `samples` [H, W, C] int32, each below 2^bits; packed here as PNG stores them.
inline std::string write_png(const at::Tensor& samples, const PngKind& kind) {
  const auto rows = samples.to(at::kInt).contiguous();
  const int64_t height = rows.size(0), row_samples = rows.size(1) * rows.size(2);
  const auto row_bytes = static_cast<size_t>((row_samples * kind.bits + 7) / 8);
  std::vector<png_byte> packed(static_cast<size_t>(height) * row_bytes);
  std::vector<png_bytep> row_starts;
  for (int64_t y = 0; y < height; ++y) {
    png_bytep row = packed.data() + static_cast<size_t>(y) * row_bytes;
    row_starts.push_back(row);
    for (int64_t i = 0; i < row_samples; ++i) {
      const auto value = static_cast<unsigned>(rows.const_data_ptr<int>()[y * row_samples + i]);
      if (kind.bits == 16)
        row[2 * i] = static_cast<png_byte>(value >> 8), row[2 * i + 1] = static_cast<png_byte>(value);
      else
        row[i * kind.bits / 8] |= static_cast<png_byte>(value << (8 - kind.bits - i * kind.bits % 8));
    }
  }
  std::string out;
  const auto append = [](png_structp png, png_bytep bytes, size_t count) {
    static_cast<std::string*>(png_get_io_ptr(png))->append(reinterpret_cast<const char*>(bytes), count);
  };
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(png, &out, append, nullptr);
  png_set_IHDR(png, info, static_cast<png_uint_32>(rows.size(1)), static_cast<png_uint_32>(height), kind.bits,
               kind.color_type, kind.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (!kind.palette.empty())
    png_set_PLTE(png, info, kind.palette.data(), static_cast<int>(kind.palette.size()));
  if (!kind.alpha.empty())
    png_set_tRNS(png, info, kind.alpha.data(), static_cast<int>(kind.alpha.size()), nullptr);
  if (kind.transparent >= 0) {
    png_color_16 level{};
    level.gray = static_cast<png_uint_16>(kind.transparent);
    png_set_tRNS(png, info, nullptr, 0, &level);
  }
  png_set_rows(png, info, row_starts.data());
  png_write_png(png, info, PNG_TRANSFORM_IDENTITY, nullptr);
  png_destroy_write_struct(&png, &info);
  return out;
}

// --- JPEG ------------------------------------------------------------------------------------------------

struct JpegKind {
  J_COLOR_SPACE input = JCS_CMYK, stored = JCS_CMYK;
  bool adobe_marker = true, progressive = false;
};

/// `samples` [H, W, C] uint8; quality 100, no subsampling.
inline std::string write_jpeg(const at::Tensor& samples, const JpegKind& kind) {
  const auto rows = samples.contiguous();
  jpeg_error_mgr errors;
  jpeg_compress_struct jpeg{};
  jpeg.err = jpeg_std_error(&errors);
  jpeg_create_compress(&jpeg);
  unsigned char* buffer = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&jpeg, &buffer, &size);
  jpeg.image_height = static_cast<JDIMENSION>(rows.size(0));
  jpeg.image_width = static_cast<JDIMENSION>(rows.size(1));
  jpeg.input_components = static_cast<int>(rows.size(2));
  jpeg.in_color_space = kind.input;
  jpeg_set_defaults(&jpeg);
  jpeg_set_colorspace(&jpeg, kind.stored);
  jpeg_set_quality(&jpeg, 100, TRUE);
  for (int c = 0; c < jpeg.num_components; ++c)
    jpeg.comp_info[c].h_samp_factor = jpeg.comp_info[c].v_samp_factor = 1;
  jpeg.write_Adobe_marker = kind.adobe_marker ? TRUE : FALSE;
  if (kind.progressive) jpeg_simple_progression(&jpeg);
  jpeg_start_compress(&jpeg, TRUE);
  while (jpeg.next_scanline < jpeg.image_height) {
    JSAMPROW row = rows.mutable_data_ptr<uint8_t>() + jpeg.next_scanline * rows.size(1) * rows.size(2);
    jpeg_write_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_compress(&jpeg);
  jpeg_destroy_compress(&jpeg);
  std::string out(reinterpret_cast<const char*>(buffer), size);
  std::free(buffer);
  return out;
}

// --- TIFF ------------------------------------------------------------------------------------------------

struct TiffKind {
  const char* mode = "wl";  ///< l, b: byte order; 8: BigTIFF
  int photometric = PHOTOMETRIC_MINISBLACK;
  int compression = COMPRESSION_NONE;
  int predictor = 1;
  bool planar = false, tiled = false;
  uint32_t rows_per_strip = 3, tile_side = 16;
  /// Overrides the numbers that follow from the samples' type (a kind that can't be read).
  int bits = 0, format = 0;
};

/// A file in memory, as libtiff's client callbacks want it.
struct TiffMemory {
  std::string bytes;
  size_t position = 0;

  static TiffMemory& of(thandle_t handle) { return *static_cast<TiffMemory*>(handle); }
  static tsize_t read(thandle_t handle, void* out, tsize_t size) {
    TiffMemory& self = of(handle);
    const size_t count = std::min(static_cast<size_t>(size), self.bytes.size() - self.position);
    std::memcpy(out, self.bytes.data() + self.position, count);
    self.position += count;
    return static_cast<tsize_t>(count);
  }
  static tsize_t write(thandle_t handle, void* data, tsize_t size) {
    TiffMemory& self = of(handle);
    const size_t end = self.position + static_cast<size_t>(size);
    self.bytes.resize(std::max(self.bytes.size(), end));
    self.bytes.replace(self.position, static_cast<size_t>(size), static_cast<const char*>(data),
                       static_cast<size_t>(size));
    self.position = end;
    return size;
  }
  static toff_t seek(thandle_t handle, toff_t offset, int whence) {
    TiffMemory& self = of(handle);
    self.position = offset + (whence == SEEK_CUR   ? self.position
                              : whence == SEEK_END ? self.bytes.size()
                                                   : 0);
    self.bytes.resize(std::max(self.bytes.size(), self.position));
    return self.position;
  }
  static int close(thandle_t) { return 0; }
  static toff_t size(thandle_t handle) { return of(handle).bytes.size(); }
};

/// The part of `samples` [H, W, C] from (top, left), padded with zeros to height x width, as bytes.
inline std::string tiff_block(const at::Tensor& samples, int64_t top, int64_t left, int64_t height,
                              int64_t width) {
  auto block = at::zeros({height, width, samples.size(2)}, samples.options());
  const auto part = samples.slice(0, top, top + height).slice(1, left, left + width);
  block.slice(0, 0, part.size(0)).slice(1, 0, part.size(1)).copy_(part);
  return {static_cast<const char*>(block.const_data_ptr()), block.nbytes()};
}

/// `samples` [H, W, C] of type uint8, int16 (bits of uint16) or float32.
inline std::string write_tiff(const at::Tensor& samples, const TiffKind& kind) {
  TIFFSetWarningHandler(nullptr);
  TiffMemory memory;
  TIFF* tiff = TIFFClientOpen("memory", kind.mode, &memory, TiffMemory::read, TiffMemory::write,
                              TiffMemory::seek, TiffMemory::close, TiffMemory::size, nullptr, nullptr);
  if (tiff == nullptr) throw std::runtime_error("libtiff can't start");
  const int64_t height = samples.size(0), width = samples.size(1), channels = samples.size(2);
  const bool is_float = samples.scalar_type() == at::kFloat;
  const auto set = [&](uint32_t tag, auto value) { TIFFSetField(tiff, tag, value); };
  set(TIFFTAG_IMAGELENGTH, static_cast<uint32_t>(height));
  set(TIFFTAG_IMAGEWIDTH, static_cast<uint32_t>(width));
  set(TIFFTAG_SAMPLESPERPIXEL, static_cast<int>(channels));
  set(TIFFTAG_BITSPERSAMPLE, kind.bits > 0 ? kind.bits : static_cast<int>(8 * samples.element_size()));
  set(TIFFTAG_SAMPLEFORMAT, kind.format > 0 ? kind.format
                            : is_float      ? SAMPLEFORMAT_IEEEFP
                                            : SAMPLEFORMAT_UINT);
  set(TIFFTAG_PHOTOMETRIC, kind.photometric);
  set(TIFFTAG_COMPRESSION, kind.compression);
  if (kind.compression == COMPRESSION_JPEG) set(TIFFTAG_JPEGQUALITY, 100);
  if (kind.photometric == PHOTOMETRIC_YCBCR) {
    set(TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
    TIFFSetField(tiff, TIFFTAG_YCBCRSUBSAMPLING, 1, 1);
  }
  if (kind.predictor != 1) set(TIFFTAG_PREDICTOR, kind.predictor);
  set(TIFFTAG_PLANARCONFIG, kind.planar ? PLANARCONFIG_SEPARATE : PLANARCONFIG_CONTIG);
  if (kind.photometric == PHOTOMETRIC_PALETTE) {
    std::vector<uint16_t> levels(256);
    TIFFSetField(tiff, TIFFTAG_COLORMAP, levels.data(), levels.data(), levels.data());
  }
  const int64_t rows = kind.tiled ? kind.tile_side : kind.rows_per_strip;
  const int64_t columns = kind.tiled ? kind.tile_side : width;
  if (kind.tiled) {
    set(TIFFTAG_TILELENGTH, kind.tile_side);
    set(TIFFTAG_TILEWIDTH, kind.tile_side);
  } else {
    set(TIFFTAG_ROWSPERSTRIP, kind.rows_per_strip);
  }
  uint32_t number = 0;
  for (int64_t plane = 0; plane < (kind.planar ? channels : 1); ++plane) {
    const auto planes = kind.planar ? samples.slice(2, plane, plane + 1) : samples;
    for (int64_t top = 0; top < height; top += rows)
      for (int64_t left = 0; left < width; left += columns, ++number) {
        const int64_t block_rows = kind.tiled ? rows : std::min(rows, height - top);
        std::string block = tiff_block(planes, top, left, block_rows, columns);
        const auto size = static_cast<tmsize_t>(block.size());
        if ((kind.tiled ? TIFFWriteEncodedTile(tiff, number, block.data(), size)
                        : TIFFWriteEncodedStrip(tiff, number, block.data(), size)) < 0)
          throw std::runtime_error("libtiff can't write");
      }
  }
  TIFFClose(tiff);
  return memory.bytes;
}

}  // namespace lacuna::testing
