// The header is a Python dictionary of three known keys.

#include "lacuna/io/npy.h"

#include <charconv>

#include "lacuna/io/image_formats.h"

namespace lacuna::io {

namespace {

constexpr std::string_view kMagic = "\x93NUMPY";

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

}  // namespace

bool is_npy(Bytes bytes) { return begins_with(bytes, kMagic); }

NpyHeader parse_npy_header(Bytes bytes, const std::string& name) {
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

}  // namespace lacuna::io
