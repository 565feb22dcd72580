#include "lacuna/target/dct.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

#include "lacuna/core/error.h"

namespace lacuna::target {

at::Tensor dct_matrix(int64_t frames) {
  const auto count = static_cast<double>(frames);
  const auto at = at::arange(frames, at::kDouble) + 0.5;
  const auto frequency = at::arange(frames, at::kDouble).unsqueeze(1);
  auto matrix = (at * frequency * (std::numbers::pi / count)).cos() * std::sqrt(2 / count);
  matrix.select(0, 0).fill_(std::sqrt(1 / count));
  return matrix.to(at::kFloat);
}

Dct::Dct(int64_t frames, int64_t rows) : matrix_(dct_matrix(frames).slice(0, 0, rows).contiguous()) {
  LACUNA_ASSERT(rows >= 1 && rows <= frames);
}

at::Tensor Dct::forward(const at::Tensor& x) const { return at::matmul(matrix_.to(x.device()), x); }

at::Tensor Dct::backward(const at::Tensor& y) const { return at::matmul(matrix_.t().to(y.device()), y); }

}  // namespace lacuna::target
