#include "lacuna/io/crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace lacuna::io {

namespace {

uint32_t step_by_table(uint32_t crc, Bytes bytes) {
  static const auto table = [] {
    std::array<uint32_t, 256> out{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t crc = i;
      for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78U : 0U);
      out[i] = crc;
    }
    return out;
  }();
  for (const std::byte byte : bytes) crc = table[(crc ^ std::to_integer<uint32_t>(byte)) & 0xff] ^ crc >> 8;
  return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t step_by_instruction(uint32_t crc, Bytes bytes) {
  uint64_t wide = crc;
  size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, 8);
    wide = _mm_crc32_u64(wide, word);
  }
  return step_by_table(static_cast<uint32_t>(wide), bytes.subspan(at));
}
#endif

}  // namespace

uint32_t crc32c_by_table(Bytes bytes) { return ~step_by_table(~0U, bytes); }

uint32_t crc32c(Bytes bytes) {
#if defined(__x86_64__)
  static const bool instruction = __builtin_cpu_supports("sse4.2");
  if (instruction) return ~step_by_instruction(~0U, bytes);
#endif
  return crc32c_by_table(bytes);
}

}  // namespace lacuna::io
