#pragma once
// Byte strings for the io tests.

#include <gtest/gtest.h>
#include <zlib.h>

#include <string>

#include "lacuna/core/draws.h"
#include "lacuna/core/error.h"
#include "lacuna/io/file.h"

namespace lacuna::io {

inline Bytes as_bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

inline std::string gzip(const std::string& text) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

/// Changes, cuts and repeats bytes of `good`; `read` must give a result or lacuna::Error, nothing else.
template <class Read>
void survive_mutations(const std::string& good, int rounds, Read read) {
  for (int round = 0; round < rounds; ++round) {
    Stream random(17, "mutation", static_cast<uint64_t>(round));
    std::string bytes = good;
    for (int64_t i = random.below(4); i >= 0; --i) {
      const auto at = static_cast<size_t>(random.below(static_cast<int64_t>(bytes.size())));
      bytes[at] = static_cast<char>(random.below(256));
    }
    if (random.below(4) == 0)
      bytes.resize(static_cast<size_t>(random.below(static_cast<int64_t>(bytes.size()) + 1)));
    try {
      read(bytes);
    } catch (const Error&) {
      continue;
    } catch (const std::exception& error) {
      FAIL() << "round " << round << ": " << error.what();
    }
  }
}

}  // namespace lacuna::io
