#include "lacuna/io/compressed.h"

#include <zstd.h>

#include <cstring>
#include <vector>

#include "lacuna/core/error.h"

namespace lacuna::io {
namespace {

void unzstd_pieces(Bytes compressed, const std::string& name, size_t limit,
                   const std::function<void(Bytes)>& sink) {
  const std::unique_ptr<ZSTD_DStream, size_t (*)(ZSTD_DStream*)> stream(ZSTD_createDStream(),
                                                                        ZSTD_freeDStream);
  std::vector<std::byte> chunk(ZSTD_DStreamOutSize());
  ZSTD_inBuffer in{compressed.data(), compressed.size(), 0};
  size_t total = 0, left = 1;  // left: 0 at the end of a frame
  bool full = false;           // more may come without further input
  while (in.pos < in.size || full) {
    ZSTD_outBuffer out{chunk.data(), chunk.size(), 0};
    left = ZSTD_decompressStream(stream.get(), &out, &in);
    if (ZSTD_isError(left) != 0)
      fail(name, str("compressed data are broken (", ZSTD_getErrorName(left), ")"), "fetch the file again");
    total += out.pos;
    if (total > limit)
      fail(name, str("holds more than the limit of ", limit, " bytes"),
           "check that the file is what it should be");
    sink({chunk.data(), out.pos});
    full = out.pos == out.size;
  }
  if (left != 0) fail(name, "compressed data are cut short", "fetch the file again");
}

}  // namespace

bool is_zstd(Bytes bytes) {
  constexpr unsigned char kMagic[] = {0x28, 0xB5, 0x2F, 0xFD};
  return bytes.size() >= sizeof kMagic && std::memcmp(bytes.data(), kMagic, sizeof kMagic) == 0;
}

MappedFile map_decompressed(const fs::path& path, size_t limit) {
  MappedFile file(path);
  if (is_gzip(file.bytes())) return map_inflated(file.bytes(), path.string(), limit);
  if (!is_zstd(file.bytes())) return file;
  return map_pieces([&](const std::function<void(Bytes)>& sink) {
    unzstd_pieces(file.bytes(), path.string(), limit, sink);
  });
}

}  // namespace lacuna::io
