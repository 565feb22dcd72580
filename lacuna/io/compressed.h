#pragma once
// Files that may be compressed, as mapped bytes.

#include "lacuna/io/file.h"

namespace lacuna::io {

/// A mapping of what `write(sink)` gives, piece by piece, kept in a temporary file that is gone with the last
/// copy.
MappedFile map_pieces(const std::function<void(const std::function<void(Bytes)>&)>& write);
/// The file's content: of gzip and Zstandard what was compressed (map_pieces), of others the file itself.
/// Error when it is broken, cut short, or holds more than `limit` bytes.
MappedFile map_decompressed(const fs::path& path, size_t limit = size_t{1} << 40);
bool is_zstd(Bytes bytes);  ///< by its first four bytes

}  // namespace lacuna::io
