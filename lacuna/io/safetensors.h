#pragma once
// safetensors (github.com/huggingface/safetensors, format description): 8 bytes header length, JSON header,
// tensors.

#include <ATen/core/Tensor.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lacuna/io/file.h"

namespace lacuna::io {

using Tensors = std::map<std::string, at::Tensor>;    ///< by name
using Metadata = std::map<std::string, std::string>;  ///< the header's __metadata__

/// One tensor of a file, read from the header alone.
struct TensorInfo {
  std::string name;
  at::ScalarType type;
  std::vector<int64_t> shape;
  size_t begin = 0, end = 0;  ///< bytes within the data part
};

/// A memory-mapped file whose header has been checked in full: lengths, types, shapes against byte counts
/// (without overflow), offsets inside the file, no overlap and no hole, no name twice. Error names the file
/// and the field.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const fs::path& path);
  const std::vector<TensorInfo>& infos() const { return infos_; }  ///< by name
  const Metadata& metadata() const { return metadata_; }           ///< empty when the file has none
  bool has(const std::string& name) const;                         ///< whether there is such a tensor
  /// A copy (own memory), on the CPU. Error with the nearest name when there is none of that name.
  at::Tensor tensor(const std::string& name) const;
  Tensors tensors() const;  ///< copies of all

 private:
  MappedFile file_;
  size_t data_begin_ = 0;
  std::vector<TensorInfo> infos_;
  Metadata metadata_;
};

Tensors load_safetensors(const fs::path& path);  ///< every tensor of a file

/// Crash-safe (write_atomically). Tensors may be on any device and of any stride; equal inputs give equal
/// bytes.
void save_safetensors(const fs::path& path, const Tensors& tensors, const Metadata& metadata = {});

}  // namespace lacuna::io
