#include <ATen/ATen.h>
#include <png.h>

#include <array>
#include <bit>
#include <csetjmp>
#include <cstring>

#include "lacuna/io/image_formats.h"

namespace lacuna::io {

namespace {

constexpr std::array<int, 4> kColorTypes{PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB,
                                         PNG_COLOR_TYPE_RGB_ALPHA};  // by number of channels

/// libpng leaves by longjmp; whatever runs between setjmp and longjmp owns nothing.
struct ErrorState {
  std::jmp_buf leave;
  std::array<char, 200> message{};
};

[[noreturn]] void on_error(png_structp png, png_const_charp message) {
  auto* state = static_cast<ErrorState*>(png_get_error_ptr(png));
  std::snprintf(state->message.data(), state->message.size(), "%s", message);
  std::longjmp(state->leave, 1);
}

void on_warning(png_structp, png_const_charp) {}

class PngReader {
 public:
  PngReader(Bytes bytes, std::string name) : rest_(bytes), name_(std::move(name)) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, &errors_, on_error, on_warning);
    info_ = png_ == nullptr ? nullptr : png_create_info_struct(png_);
    if (info_ == nullptr) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      fail(name_, "libpng can't start", "free some memory");
    }
    png_set_read_fn(png_, this, read);
    png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);  // ImageLimits decide
  }
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  /// What the picture will be once widened. Asks libpng for nothing that allocates rows: limits are not
  /// checked yet.
  ImageInfo read_header() {
    guarded([this] { png_read_info(png_, info_); });
    const int type = png_get_color_type(png_, info_), depth = png_get_bit_depth(png_, info_);
    const int colors = (type & PNG_COLOR_MASK_COLOR) != 0 ? 3 : 1;
    const bool alpha = (type & PNG_COLOR_MASK_ALPHA) != 0 || png_get_valid(png_, info_, PNG_INFO_tRNS) != 0;
    return {"png", png_get_image_height(png_, info_), png_get_image_width(png_, info_),
            colors + (alpha ? 1 : 0), depth == 16 ? 16 : 8};
  }

  /// Widens palettes, small grey levels and transparent colours while reading.
  void read_pixels(uint8_t* out, const ImageInfo& info) {
    std::vector<png_bytep> rows(static_cast<size_t>(info.height));
    const auto row_bytes = static_cast<size_t>(info.width * info.channels * (info.bits / 8));
    for (size_t y = 0; y < rows.size(); ++y) rows[y] = out + y * row_bytes;
    guarded([&] {
      png_set_expand(png_);
      if constexpr (std::endian::native == std::endian::little) png_set_swap(png_);
      png_set_interlace_handling(png_);
      png_read_update_info(png_, info_);
      if (png_get_rowbytes(png_, info_) != row_bytes) png_error(png_, "rows of an unexpected size");
      png_read_image(png_, rows.data());
      png_read_end(png_, nullptr);
    });
  }

 private:
  template <class Body>
  void guarded(Body body) {
    if (setjmp(errors_.leave) != 0) broken_image(name_, str("broken PNG (", errors_.message.data(), ")"));
    body();
  }

  static void read(png_structp png, png_bytep out, size_t count) {
    auto* self = static_cast<PngReader*>(png_get_io_ptr(png));
    if (count > self->rest_.size()) png_error(png, "cut short");
    std::memcpy(out, self->rest_.data(), count);
    self->rest_ = self->rest_.subspan(count);
  }

  Bytes rest_;
  std::string name_;
  ErrorState errors_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
};

bool matches(Bytes bytes) { return begins_with(bytes, "\x89PNG\r\n\x1a\n"); }

ImageInfo probe(Bytes bytes, const std::string& name) { return PngReader(bytes, name).read_header(); }

Image decode(Bytes bytes, const std::string& name, const ImageLimits& limits) {
  PngReader reader(bytes, name);
  const ImageInfo info = reader.read_header();
  check_limits(info, name, limits);
  if (info.bits == 16) {
    std::vector<uint16_t> samples(static_cast<size_t>(info.pixels() * info.channels));
    reader.read_pixels(reinterpret_cast<uint8_t*>(samples.data()), info);
    return image_from_uint16(samples.data(), info);
  }
  Image out{at::empty({info.height, info.width, info.channels}, at::kByte), 255};
  reader.read_pixels(out.pixels.mutable_data_ptr<uint8_t>(), info);
  return out;
}

void append(png_structp png, png_bytep bytes, size_t count) {
  static_cast<std::string*>(png_get_io_ptr(png))->append(reinterpret_cast<const char*>(bytes), count);
}

struct PngWriter {
  ErrorState errors;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &errors, on_error, on_warning);
  png_infop info = png == nullptr ? nullptr : png_create_info_struct(png);

  PngWriter() = default;
  ~PngWriter() { png_destroy_write_struct(&png, &info); }
  PngWriter(const PngWriter&) = delete;
  PngWriter& operator=(const PngWriter&) = delete;

  void write(std::string& out, const uint8_t* pixels, const ImageInfo& size) {
    if (info == nullptr) fail("PNG", "libpng can't start", "free some memory");
    if (setjmp(errors.leave) != 0) fail("PNG", errors.message.data(), "choose a smaller picture");
    png_set_write_fn(png, &out, append, nullptr);
    png_set_IHDR(png, info, static_cast<png_uint_32>(size.width), static_cast<png_uint_32>(size.height), 8,
                 kColorTypes[static_cast<size_t>(size.channels - 1)], PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    for (int64_t y = 0; y < size.height; ++y) png_write_row(png, pixels + y * size.width * size.channels);
    png_write_end(png, nullptr);
  }
};

}  // namespace

const ImageFormat kPngFormat{"png", matches, probe, decode};

std::string encode_png(const at::Tensor& pixels) {
  LACUNA_ASSERT(pixels.scalar_type() == at::kByte && (pixels.dim() == 2 || pixels.dim() == 3));
  const auto whole = (pixels.dim() == 2 ? pixels.unsqueeze(2) : pixels).cpu().contiguous();
  LACUNA_ASSERT(whole.size(2) >= 1 && whole.size(2) <= 4);
  std::string out;
  PngWriter().write(out, whole.const_data_ptr<uint8_t>(),
                    {"png", whole.size(0), whole.size(1), whole.size(2)});
  return out;
}

}  // namespace lacuna::io
