#include <ATen/ATen.h>

#include <bit>
#include <charconv>
#include <cstring>

#include "lacuna/io/image_formats.h"

namespace lacuna::io {

namespace {

constexpr std::string_view kMagic = "\x93NUMPY";

/// What a .npy header says (numpy.lib.format, versions 1 to 3): a Python dictionary of three known keys.
struct Header {
  std::string type;  // "|u1", "<u2", "<f4"
  std::vector<int64_t> shape;
  size_t data_begin = 0;
};

/// The text behind `'key':`.
std::string_view after_key(std::string_view text, std::string_view key, const std::string& name) {
  const size_t at = text.find(str("'", key, "':"));
  if (at == std::string_view::npos) broken_image(name, str("the npy header has no ", key));
  text.remove_prefix(at + key.size() + 3);
  const size_t begin = text.find_first_not_of(' ');
  return begin == std::string_view::npos ? std::string_view() : text.substr(begin);
}

std::vector<int64_t> parse_shape(std::string_view text, const std::string& name) {
  const size_t close = text.find(')');
  if (text.empty() || text.front() != '(' || close == std::string_view::npos)
    broken_image(name, "the npy header's shape is no tuple");
  std::vector<int64_t> shape;
  const char* const end = text.data() + close;
  for (const char* at = text.data() + 1; at < end;) {
    if (*at == ' ' || *at == ',') {
      ++at;
      continue;
    }
    int64_t size = 0;
    const auto [next, error] = std::from_chars(at, end, size);
    if (error != std::errc() || size < 0) broken_image(name, "the npy header's shape holds no numbers");
    shape.push_back(size);
    at = next;
  }
  return shape;
}

Header parse_header(Bytes bytes, const std::string& name) {
  const auto byte = [&](size_t i) { return std::to_integer<size_t>(bytes[i]); };
  if (bytes.size() < 12) broken_image(name, "the npy file is cut short");
  const bool wide = byte(6) >= 2;
  const size_t begin = wide ? 12 : 10;
  const size_t length =
      wide ? byte(8) | byte(9) << 8 | byte(10) << 16 | byte(11) << 24 : byte(8) | byte(9) << 8;
  if (length > bytes.size() - begin) broken_image(name, "the npy file is cut short");
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + begin, length);
  if (!after_key(text, "fortran_order", name).starts_with("False"))
    fail(name, "the npy array is stored column by column", "save it with numpy.ascontiguousarray");
  const std::string_view type = after_key(text, "descr", name);
  return {std::string(type.substr(0, 5)), parse_shape(after_key(text, "shape", name), name), begin + length};
}

int bits_of(const Header& header, const std::string& name) {
  if (header.type == "'|u1'") return 8;
  if (header.type == "'<u2'") return 16;
  if (header.type == "'<f4'") return 32;
  fail(name, str("npy arrays of type ", header.type, " are not read"), "save it as uint8, uint16 or float32");
}

bool channels_first(const std::vector<int64_t>& shape) {
  return shape.size() == 3 && shape[0] < shape[1] && shape[0] < shape[2];
}

ImageInfo info_of(const Header& header, const std::string& name) {
  const auto& shape = header.shape;
  const int bits = bits_of(header, name);
  if (shape.size() == 2) return {"npy", shape[0], shape[1], 1, bits};
  if (shape.size() != 3)
    fail(name, str("an npy array of ", shape.size(), " dimensions"), "save it as [H,W], [H,W,C] or [C,H,W]");
  if (channels_first(shape)) return {"npy", shape[1], shape[2], shape[0], bits};
  return {"npy", shape[0], shape[1], shape[2], bits};
}

bool matches(Bytes bytes) { return begins_with(bytes, kMagic); }

ImageInfo probe(Bytes bytes, const std::string& name) { return info_of(parse_header(bytes, name), name); }

Image decode(Bytes bytes, const std::string& name, const ImageLimits& limits) {
  static_assert(std::endian::native == std::endian::little, "npy arrays are copied as they lie");
  const Header header = parse_header(bytes, name);
  const ImageInfo info = info_of(header, name);
  check_limits(info, name, limits);
  const auto count = static_cast<size_t>(info.pixels() * info.channels);
  const size_t size = count * static_cast<size_t>(info.bits / 8);
  const Bytes data = bytes.subspan(header.data_begin);
  if (data.size() != size)
    broken_image(name, str("the npy array needs ", size, " bytes, the file holds ", data.size()));

  Image out;
  if (info.bits == 16) {
    std::vector<uint16_t> samples(count);  // the file's samples need not lie aligned
    std::memcpy(samples.data(), data.data(), size);
    out = image_from_uint16(samples.data(), info);
  } else {
    out = {at::empty({info.height, info.width, info.channels}, info.bits == 8 ? at::kByte : at::kFloat),
           info.bits == 8 ? 255.0F : 1.0F};
    std::memcpy(out.pixels.mutable_data_ptr(), data.data(), size);
  }
  if (channels_first(header.shape))
    out.pixels = out.pixels.view({info.channels, info.height, info.width}).permute({1, 2, 0}).contiguous();
  return out;
}

}  // namespace

const ImageFormat kNpyFormat{"npy", matches, probe, decode};

}  // namespace lacuna::io
