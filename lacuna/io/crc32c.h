#pragma once
// CRC-32C (Castagnoli, RFC 3720): the checksum of TensorBoard's records and of packed data.

#include <cstdint>

#include "lacuna/io/file.h"

namespace lacuna::io {

/// Of `bytes`; by the processor's own instruction where it has one (several GB/s), else by a table.
uint32_t crc32c(Bytes bytes);
/// By a table, everywhere: what the other is tested against.
uint32_t crc32c_by_table(Bytes bytes);

}  // namespace lacuna::io
