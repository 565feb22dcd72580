#pragma once
// The discrete cosine transform along time: a motion by its first L coefficients (HumanMAC, section 3.1).

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace lacuna::target {

/// [T, T] float32, orthonormal: row k is c_k cos(pi (i + 1/2) k / T), c_0 = sqrt(1/T), else sqrt(2/T). Its
/// inverse is its transpose.
at::Tensor dct_matrix(int64_t frames);

/// The first `rows` coefficients of signals of `frames` frames.
class Dct {
 public:
  /// 1 <= rows <= frames.
  Dct(int64_t frames, int64_t rows);
  at::Tensor forward(const at::Tensor& x) const;   ///< [..., T, D] -> [..., L, D]
  at::Tensor backward(const at::Tensor& y) const;  ///< [..., L, D] -> [..., T, D]
  int64_t rows() const { return matrix_.size(0); }

 private:
  at::Tensor matrix_;  ///< [L, T]
};

}  // namespace lacuna::target
