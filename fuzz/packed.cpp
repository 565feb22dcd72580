// The file as it is, and with its checksums made to fit, so that what they guard is reached.

#include "lacuna/data/packed.h"

#include <cstring>

#include "fuzz/fuzz.h"
#include "lacuna/io/crc32c.h"

using namespace lacuna;

namespace {

/// Whatever the tail says of its parts, their checksums are right.
std::string with_checksums(std::string bytes) {
  data::PackedTail tail{};
  if (bytes.size() < sizeof(data::PackedHead) + sizeof(tail)) return bytes;
  const size_t end = bytes.size() - sizeof(tail);
  std::memcpy(&tail, bytes.data() + end, sizeof(tail));
  const auto crc = [&](uint64_t from, uint64_t to) {
    return from <= to && to <= end ? io::crc32c(std::as_bytes(std::span(bytes)).subspan(from, to - from)) : 0;
  };
  tail.keys_crc = crc(tail.keys_at, tail.document_at);
  tail.document_crc = crc(tail.document_at, tail.entries_at);
  tail.entries_crc = crc(tail.entries_at, end);
  tail.version = data::kPackedVersion, tail.zero = 0, tail.file_bytes = bytes.size();
  tail.crc = io::crc32c(std::as_bytes(std::span(&tail, 1)).first(offsetof(data::PackedTail, crc)));
  std::memcpy(tail.magic, data::kPackedMagic, sizeof(tail.magic));
  std::memcpy(bytes.data() + end, &tail, sizeof(tail));
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::MemoryFile file;
  const std::string bytes(fuzz::text_of(data, size));
  for (const auto& content : {bytes, with_checksums(bytes)}) {
    file.write(content);
    fuzz::expect_answer([] { fuzz::touch(*data::open_dataset("packed:" + file.path())); });
  }
  return 0;
}
