#pragma once
// The header of NumPy's .npy arrays.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "lacuna/io/file.h"

namespace lacuna::io {

/// What a .npy header says (numpy.lib.format, versions 1 to 3).
struct NpyHeader {
  std::string type;  ///< as written, with its quotes: "'|u1'", "'<u2'", "'<f4'"
  std::vector<int64_t> shape;
  size_t data_begin = 0;  ///< where the values begin
};

/// Whether bytes begin as such an array does.
bool is_npy(Bytes bytes);
/// Error naming `name`: cut short, not as NumPy writes it, or stored column by column.
NpyHeader parse_npy_header(Bytes bytes, const std::string& name);
/// A whole array: float32, float64, int32, int64, uint8. Error: another type, or cut short.
at::Tensor read_npy(Bytes bytes, const std::string& name);

}  // namespace lacuna::io
