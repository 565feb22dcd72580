#pragma once
// Point clouds.

#include <cstdint>
#include <string>
#include <vector>

namespace lacuna::io {

/// One cloud, sweep or mesh's vertices.
struct Points {
  std::vector<std::string> fields = {"x", "y", "z"};  ///< what a point holds, coordinates first
  std::vector<float> values;                          ///< [count, fields], row by row
  std::vector<int32_t> labels = {};                   ///< [count]: class of each point; empty: none
  int64_t count() const { return static_cast<int64_t>(values.size()) / static_cast<int64_t>(fields.size()); }
};

}  // namespace lacuna::io
