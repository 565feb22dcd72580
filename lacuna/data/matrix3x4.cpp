#include "lacuna/data/matrix3x4.h"

#include <cstddef>

namespace lacuna::data {

Matrix3x4 chained(const Matrix3x4& second, const Matrix3x4& first) {
  Matrix3x4 out{};
  for (size_t i = 0; i < 3; ++i)
    for (size_t j = 0; j < 4; ++j) {
      for (size_t k = 0; k < 3; ++k) out[4 * i + j] += second[4 * i + k] * first[4 * k + j];
      if (j == 3) out[4 * i + 3] += second[4 * i + 3];
    }
  return out;
}

Matrix3x4 inverse(const Matrix3x4& rigid) {
  Matrix3x4 out{};
  for (size_t i = 0; i < 3; ++i) {
    for (size_t j = 0; j < 3; ++j) {
      out[4 * i + j] = rigid[4 * j + i];
      out[4 * i + 3] -= rigid[4 * j + i] * rigid[4 * j + 3];
    }
  }
  return out;
}

std::array<double, 3> applied(const Matrix3x4& matrix, const float* xyz) {
  std::array<double, 3> out{};
  for (size_t i = 0; i < 3; ++i)
    out[i] =
        matrix[4 * i] * xyz[0] + matrix[4 * i + 1] * xyz[1] + matrix[4 * i + 2] * xyz[2] + matrix[4 * i + 3];
  return out;
}

}  // namespace lacuna::data
