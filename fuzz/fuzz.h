#pragma once
// What the fuzz targets share. A target gives its input to a reader; a result or a lacuna::Error is an
// answer, all else (another exception, a sanitizer's report, an assertion, too much time or memory) is a
// finding.

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include "lacuna/core/error.h"
#include "lacuna/data/dataset.h"
#include "lacuna/io/file.h"

namespace lacuna::fuzz {

template <class Read>
void expect_answer(Read read) {
  try {
    read();
  } catch (const Error&) {
    return;
  }
}

inline void expect(bool condition) {
  if (!condition) std::abort();
}

/// Reads every byte: memory that a result claims but does not own is met.
inline void touch(io::Bytes bytes) {
  [[maybe_unused]] static volatile unsigned sink = 0;
  unsigned sum = 0;
  for (const std::byte byte : bytes) sum += std::to_integer<unsigned>(byte);
  sink = sum;
}

inline void touch(const at::Tensor& tensor) {
  expect(tensor.is_contiguous());
  touch({static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()});
}

inline void touch(const data::Dataset& set) {
  const auto classes = static_cast<int64_t>(set.classes().size());
  for (int64_t i = 0; i < set.size(); ++i) {
    const data::Record record = set.get(i);
    expect(record.label >= data::kNoLabel && record.label < std::max<int64_t>(classes, 1));
    if (const auto* image = std::get_if<io::Image>(&record.content)) touch(image->pixels);
    if (const auto* bytes = std::get_if<io::Bytes>(&record.content)) touch(*bytes);
  }
}

/// A file in memory that is opened by a path, so that no disk is touched between two inputs.
class MemoryFile {
 public:
  MemoryFile() : descriptor_(memfd_create("fuzz", MFD_CLOEXEC)), path_(str("/proc/self/fd/", descriptor_)) {
    expect(descriptor_ >= 0);
  }
  ~MemoryFile() { close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  const std::string& path() const { return path_; }
  void write(std::string_view bytes) const {
    expect(ftruncate(descriptor_, 0) == 0);
    expect(pwrite(descriptor_, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  }

 private:
  int descriptor_;
  std::string path_;
};

inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace lacuna::fuzz
