#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <csetjmp>
#include <cstdio>
// jpeglib.h needs FILE from <cstdio>.
#include <jpeglib.h>
// jerror.h needs jpeglib.h.
#include <jerror.h>

#include "lacuna/io/image_formats.h"

namespace lacuna::io {

namespace {

/// libjpeg reports by callbacks and leaves by longjmp; whatever runs between setjmp and longjmp owns nothing.
struct ErrorManager {
  jpeg_error_mgr base;  // first: libjpeg knows only this part
  std::jmp_buf leave;
  std::array<char, JMSG_LENGTH_MAX> message;
};

[[noreturn]] void on_error(j_common_ptr info) {
  auto* manager = reinterpret_cast<ErrorManager*>(info->err);
  manager->base.format_message(info, manager->message.data());
  std::longjmp(manager->leave, 1);
}

/// Warnings that leave the pixels as they should be. All others mean damage, which libjpeg would paint over
/// in grey.
bool is_harmless(int code) {
  return code == JWRN_EXTRANEOUS_DATA || code == JWRN_ADOBE_XFORM || code == JWRN_JFIF_MAJOR ||
         code == JWRN_TOO_MUCH_DATA || code == JWRN_BOGUS_ICC;
}

void on_message(j_common_ptr info, int level) {
  if (level < 0 && !is_harmless(info->err->msg_code)) on_error(info);
}

/// Every scan of a progressive file is a pass over the whole picture, and costs a few bytes: a small file
/// could ask for hours. Encoders write about ten.
constexpr int kMaxScans = 100;

void on_progress(j_common_ptr info) {
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= kMaxScans) return;
  auto* manager = reinterpret_cast<ErrorManager*>(info->err);
  std::snprintf(manager->message.data(), manager->message.size(), "more than %d scans", kMaxScans);
  std::longjmp(manager->leave, 1);
}

void prepare(ErrorManager& errors) {
  jpeg_std_error(&errors.base);
  errors.base.error_exit = on_error;
  errors.base.emit_message = on_message;
  errors.message = {};
}

/// Frees what libjpeg allocated, even when a reader's constructor leaves on a broken header.
struct Decompressor : jpeg_decompress_struct {
  Decompressor() : jpeg_decompress_struct{} {}
  ~Decompressor() { jpeg_destroy_decompress(this); }
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;
};

class JpegReader {
 public:
  JpegReader(Bytes bytes, std::string name) : bytes_(bytes), name_(std::move(name)) {
    prepare(errors_);
    jpeg_.err = &errors_.base;
    guarded([this] {
      jpeg_create_decompress(&jpeg_);
      jpeg_.progress = &progress_;
      jpeg_mem_src(&jpeg_, reinterpret_cast<const unsigned char*>(bytes_.data()), bytes_.size());
      jpeg_read_header(&jpeg_, TRUE);
    });
  }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  ImageInfo info() const {
    const int components = jpeg_.num_components;
    if (components != 1 && components != 3 && components != 4)
      broken_image(name_, str("a JPEG of ", components, " components"));
    return {"jpeg", jpeg_.image_height, jpeg_.image_width, components == 1 ? 1 : 3, jpeg_.data_precision};
  }

  /// Without this, rows skipped below a crop would hide that a file is cut short.
  void require_end() const {
    constexpr std::array<std::byte, 2> kEndOfImage{std::byte{0xff}, std::byte{0xd9}};
    const Bytes scans = bytes_.last(jpeg_.src->bytes_in_buffer);
    if (std::find_end(scans.begin(), scans.end(), kEndOfImage.begin(), kEndOfImage.end()) == scans.end())
      broken_image(name_, "the JPEG is cut short");
  }

  /// Rows and columns of `crop` (in pixels of the picture at 1/denominator), and perhaps some columns around
  /// them; `crop` is moved to where it lies in the result.
  Image decode(int denominator, Rect& crop) {
    at::Tensor pixels;
    JDIMENSION left = 0, width = 0;
    guarded([&] {
      jpeg_.scale_num = 1;
      jpeg_.scale_denom = static_cast<unsigned>(denominator);
      jpeg_.out_color_space = jpeg_.num_components == 1   ? JCS_GRAYSCALE
                              : jpeg_.num_components == 3 ? JCS_RGB
                                                          : JCS_CMYK;
      jpeg_start_decompress(&jpeg_);
      choose_columns(crop, left, width);
    });
    pixels = at::empty({crop.height, width, jpeg_.output_components}, at::kByte);
    auto* rows = pixels.mutable_data_ptr<uint8_t>();
    guarded([&] { read_rows(crop, rows, static_cast<size_t>(width) * jpeg_.output_components); });
    crop = {0, crop.left - left, crop.height, crop.width};
    return {jpeg_.out_color_space == JCS_CMYK ? cmyk_to_rgb(pixels) : pixels, 255};
  }

 private:
  template <class Body>
  void guarded(Body body) {
    if (setjmp(errors_.leave) != 0) broken_image(name_, str("broken JPEG (", errors_.message.data(), ")"));
    body();
  }

  // libjpeg widens the range to whole blocks. Smooth chroma upsampling reads one more column on either side,
  // so a margin is asked for to keep the crop's own pixels equal to those of the whole picture.
  void choose_columns(const Rect& crop, JDIMENSION& left, JDIMENSION& width) {
    constexpr int64_t kMargin = 16;
    const int64_t first = std::max<int64_t>(0, crop.left - kMargin);
    const int64_t last = std::min<int64_t>(jpeg_.output_width, crop.left + crop.width + kMargin);
    left = static_cast<JDIMENSION>(first);
    width = static_cast<JDIMENSION>(last - first);
    if (width < jpeg_.output_width)
      jpeg_crop_scanline(&jpeg_, &left, &width);
    else
      left = 0;
  }

  void read_rows(const Rect& crop, uint8_t* rows, size_t row_bytes) {
    const auto bottom = static_cast<JDIMENSION>(crop.top + crop.height);
    if (crop.top > 0) jpeg_skip_scanlines(&jpeg_, static_cast<JDIMENSION>(crop.top));
    while (jpeg_.output_scanline < bottom) {
      JSAMPROW row = rows + (jpeg_.output_scanline - static_cast<size_t>(crop.top)) * row_bytes;
      jpeg_read_scanlines(&jpeg_, &row, 1);
    }
    if (bottom == jpeg_.output_height) jpeg_finish_decompress(&jpeg_);
  }

  // Adobe's programs store inverted CMYK and leave their marker.
  at::Tensor cmyk_to_rgb(const at::Tensor& cmyk) const {
    const auto light = (jpeg_.saw_Adobe_marker ? cmyk : 255 - cmyk).to(at::kInt);
    return ((light.slice(2, 0, 3) * light.slice(2, 3, 4) + 127).floor_divide(255)).to(at::kByte).contiguous();
  }

  Bytes bytes_;
  std::string name_;
  ErrorManager errors_;
  jpeg_progress_mgr progress_{on_progress, 0, 0, 0, 0};
  Decompressor jpeg_;
};

bool matches(Bytes bytes) { return begins_with(bytes, "\xff\xd8\xff"); }

ImageInfo probe(Bytes bytes, const std::string& name) { return JpegReader(bytes, name).info(); }

/// The largest of 1, 2, 4 and 8 that leaves the crop no smaller than the target.
int denominator_for(const Rect& crop, Size2 target) {
  int denominator = 8;
  while (denominator > 1 && (crop.height < target.h * denominator || crop.width < target.w * denominator))
    denominator /= 2;
  return denominator;
}

/// A crop of the whole picture in pixels of the picture at 1/denominator, to the nearest pixel.
Rect scale_down(const Rect& crop, int denominator) {
  const auto nearest = [denominator](int64_t at) { return (2 * at + denominator) / (2 * denominator); };
  const int64_t top = nearest(crop.top), left = nearest(crop.left);
  return {top, left, nearest(crop.top + crop.height) - top, nearest(crop.left + crop.width) - left};
}

Image decode(Bytes bytes, const std::string& name, const ImageLimits& limits) {
  JpegReader reader(bytes, name);
  const ImageInfo info = reader.info();
  check_limits(info, name, limits);
  Rect whole{0, 0, info.height, info.width};
  return reader.decode(1, whole);
}

/// jpeg_compress_struct with the memory that it writes into.
struct JpegWriter {
  ErrorManager errors;
  jpeg_compress_struct jpeg{};
  unsigned char* buffer = nullptr;
  unsigned long size = 0;

  JpegWriter() {
    prepare(errors);
    jpeg.err = &errors.base;
    jpeg_create_compress(&jpeg);
  }
  ~JpegWriter() {
    jpeg_destroy_compress(&jpeg);
    std::free(buffer);
  }
  JpegWriter(const JpegWriter&) = delete;
  JpegWriter& operator=(const JpegWriter&) = delete;

  void write(const uint8_t* pixels, const ImageInfo& info, int quality) {
    if (setjmp(errors.leave) != 0) fail("JPEG", errors.message.data(), "choose a smaller picture");
    jpeg_mem_dest(&jpeg, &buffer, &size);
    jpeg.image_height = static_cast<JDIMENSION>(info.height);
    jpeg.image_width = static_cast<JDIMENSION>(info.width);
    jpeg.input_components = static_cast<int>(info.channels);
    jpeg.in_color_space = info.channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, quality, TRUE);
    jpeg_start_compress(&jpeg, TRUE);
    while (jpeg.next_scanline < jpeg.image_height) {
      JSAMPROW row = const_cast<uint8_t*>(pixels) + jpeg.next_scanline * info.width * info.channels;
      jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
  }
};

}  // namespace

const ImageFormat kJpegFormat{"jpeg", matches, probe, decode};

Image decode_jpeg_region(Bytes bytes, const std::string& name, Size2 target, Rect& crop,
                         const ImageLimits& limits) {
  JpegReader reader(bytes, name);
  const ImageInfo info = reader.info();
  check_limits(info, name, limits);
  LACUNA_ASSERT(crop.top >= 0 && crop.left >= 0 && crop.height > 0 && crop.width > 0 &&
                crop.top + crop.height <= info.height && crop.left + crop.width <= info.width);
  reader.require_end();
  const int denominator = denominator_for(crop, target);
  crop = scale_down(crop, denominator);
  return reader.decode(denominator, crop);
}

std::string encode_jpeg(const at::Tensor& pixels, int quality) {
  LACUNA_ASSERT(pixels.dim() == 3 && pixels.scalar_type() == at::kByte &&
                (pixels.size(2) == 1 || pixels.size(2) == 3));
  const auto whole = pixels.cpu().contiguous();
  JpegWriter writer;
  writer.write(whole.const_data_ptr<uint8_t>(), {"jpeg", whole.size(0), whole.size(1), whole.size(2)},
               quality);
  return {reinterpret_cast<const char*>(writer.buffer), writer.size};
}

}  // namespace lacuna::io
