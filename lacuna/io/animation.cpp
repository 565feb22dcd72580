#include "lacuna/io/animation.h"

#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "lacuna/core/error.h"
#include "lacuna/io/image.h"

namespace lacuna::io {

namespace {

constexpr size_t kSignature = 8;  // bytes before the first chunk

std::string big_endian(uint32_t value, int bytes = 4) {
  std::string out;
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 0xFF);
  return out;
}

uint32_t read_big_endian(const std::string& bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

std::string chunk(const std::string& type, const std::string& data) {
  const std::string named = type + data;
  const auto check = crc32(0, reinterpret_cast<const Bytef*>(named.data()), static_cast<uInt>(named.size()));
  return big_endian(static_cast<uint32_t>(data.size())) + named + big_endian(static_cast<uint32_t>(check));
}

/// The data of every chunk of this type.
std::vector<std::string> chunks_of(const std::string& png, const std::string& type) {
  std::vector<std::string> out;
  for (size_t at = kSignature; at + 12 <= png.size();) {
    const size_t size = read_big_endian(png, at);
    if (png.compare(at + 4, 4, type) == 0) out.push_back(png.substr(at + 8, size));
    at += size + 12;
  }
  return out;
}

}  // namespace

std::string encode_apng(const at::Tensor& frames, double rate) {
  LACUNA_ASSERT(frames.dim() == 4 && frames.size(0) > 0 && rate > 0);
  const auto count = static_cast<uint32_t>(frames.size(0));
  const auto milliseconds = static_cast<uint32_t>(std::clamp<int64_t>(std::llround(1000 / rate), 1, 65535));
  std::string out;
  uint32_t sequence = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const std::string png = encode_png(frames[i].contiguous());
    if (i == 0)
      out = png.substr(0, kSignature) + chunk("IHDR", chunks_of(png, "IHDR").at(0)) +
            chunk("acTL", big_endian(count) + big_endian(0));
    out +=
        chunk("fcTL", big_endian(sequence++) + big_endian(static_cast<uint32_t>(frames.size(2))) +
                          big_endian(static_cast<uint32_t>(frames.size(1))) + big_endian(0) + big_endian(0) +
                          big_endian(milliseconds, 2) + big_endian(1000, 2) + std::string(2, '\0'));
    for (const auto& data : chunks_of(png, "IDAT"))
      out += i == 0 ? chunk("IDAT", data) : chunk("fdAT", big_endian(sequence++) + data);
  }
  return out + chunk("IEND", "");
}

}  // namespace lacuna::io
