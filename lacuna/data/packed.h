#pragma once
// packed:FILE: decoded pictures in one memory-mapped file, so that an epoch decodes nothing. Made of any data
// set of pictures by `lacuna data pack`.
//
// The file, little-endian: PackedHead; the pictures' pixels [H, W, C], each at a multiple of 64; the keys,
// end to end; a JSON document {"uri", "side", "splits": [{"name", "uri", "first", "count", "classes"}]}; a
// PackedEntry a record; PackedTail. Checksums are CRC-32C: the tail's own, of keys, document and entries on
// opening, of a picture's pixels when it is first read.

#include <functional>
#include <string>
#include <vector>

#include "lacuna/data/dataset.h"

namespace lacuna::data {

inline constexpr char kPackedMagic[8] = {'L', 'A', 'C', 'U', 'N', 'A', 'P', 'K'};
inline constexpr uint32_t kPackedVersion = 1;
inline constexpr uint64_t kPackedAlignment = 64;

struct PackedHead {
  char magic[8];
  uint32_t version, zero;
};
static_assert(sizeof(PackedHead) == 16);

enum PackedKind : uint32_t { kPackedBytes = 0, kPackedFloats = 1 };  ///< uint8, float32

struct PackedEntry {
  uint64_t at, key_at;  ///< of the pixels in the file; of the key in the keys
  uint32_t key_bytes, height, width, channels;
  uint32_t kind;
  float peak;     ///< io::Image::peak
  int32_t label;  ///< kNoLabel where there is none
  uint32_t crc;   ///< of the pixels
};
static_assert(sizeof(PackedEntry) == 48);

struct PackedTail {
  uint64_t keys_at, document_at, entries_at, count, file_bytes;
  uint32_t keys_crc, document_crc, entries_crc, version;
  uint32_t zero, crc;  ///< of the tail before it
  char magic[8];
};
static_assert(sizeof(PackedTail) == 72);

/// How `pack` works.
struct PackOptions {
  int64_t side = 0;     ///< shorter side of what is stored; smaller pictures stay as they are; 0: all do
  int64_t workers = 2;  ///< threads that decode
  int64_t max_bad = 0;  ///< broken records that are named and left out; one more is an Error
  io::ImageLimits limits;
  std::function<void(int64_t done, int64_t of)> progress = nullptr;  ///< called now and then; may throw
};

/// What `pack` wrote.
struct PackReport {
  std::vector<std::pair<std::string, int64_t>> splits;  ///< names ("" for an undivided set) and records
  int64_t records = 0, left_out = 0;
  int64_t file_bytes = 0;
  int64_t source_bytes = 0;  ///< of the records as the source keeps them
};

/// Packs all splits of the set that `uri` names, or the one it names. The file is there whole or not at all;
/// a run that was stopped starts anew. Error when it is there already, or when the set holds no pictures.
PackReport pack(const std::string& uri, const io::fs::path& file, const PackOptions& options);

/// Whether a file begins as a packed one does.
bool is_packed(const io::fs::path& file);

}  // namespace lacuna::data
