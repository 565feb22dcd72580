#include "lacuna/nn/relative_position.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna::nn {

namespace {

constexpr int64_t kClassRows = 3;

using Matrix = std::vector<std::vector<double>>;

/// Solves A X = B in place by Gaussian elimination with partial pivoting; A is small (a window's side).
void solve(Matrix& a, Matrix& b) {
  const size_t n = a.size();
  for (size_t column = 0; column < n; ++column) {
    size_t pivot = column;
    for (size_t row = column + 1; row < n; ++row)
      if (std::abs(a[row][column]) > std::abs(a[pivot][column])) pivot = row;
    std::swap(a[column], a[pivot]);
    std::swap(b[column], b[pivot]);
    for (size_t row = 0; row < n; ++row) {
      if (row == column) continue;
      const double factor = a[row][column] / a[column][column];
      if (factor == 0) continue;
      for (size_t k = column; k < n; ++k) a[row][k] -= factor * a[column][k];
      for (size_t k = 0; k < b[row].size(); ++k) b[row][k] -= factor * b[column][k];
    }
  }
  for (size_t row = 0; row < n; ++row)
    for (auto& value : b[row]) value /= a[row][row];
}

/// Second derivatives at the knots x of the not-a-knot cubic spline, as a matrix over the knots' values.
Matrix spline_curvatures(const std::vector<double>& x) {
  const size_t n = x.size();
  const auto h = [&](size_t i) { return x[i + 1] - x[i]; };
  Matrix a(n, std::vector<double>(n, 0)), b(n, std::vector<double>(n, 0));
  for (size_t i = 1; i + 1 < n; ++i) {
    a[i][i - 1] = h(i - 1);
    a[i][i] = 2 * (h(i - 1) + h(i));
    a[i][i + 1] = h(i);
    b[i][i - 1] = 6 / h(i - 1);
    b[i][i] = -6 / h(i - 1) - 6 / h(i);
    b[i][i + 1] = 6 / h(i);
  }
  if (n == 3) {  // one parabola: its curvature is the same everywhere
    a[0][0] = 1, a[0][1] = -1;
    a[2][2] = 1, a[2][1] = -1;
  } else {  // the third derivative is continuous at the second and the last but one knot
    a[0][0] = h(1), a[0][1] = -(h(0) + h(1)), a[0][2] = h(0);
    a[n - 1][n - 3] = h(n - 2), a[n - 1][n - 2] = -(h(n - 3) + h(n - 2)), a[n - 1][n - 1] = h(n - 3);
  }
  solve(a, b);
  return b;
}

/// [points, knots]: the spline through values at knots x, read at `points` (held at the border outside).
torch::Tensor spline_matrix(const std::vector<double>& x, const std::vector<double>& points) {
  const auto n = static_cast<int64_t>(x.size());
  auto out = torch::zeros({static_cast<int64_t>(points.size()), n}, torch::kDouble);
  if (n == 1) return out.fill_(1);
  const Matrix curvature = spline_curvatures(x);
  auto rows = out.accessor<double, 2>();
  for (size_t p = 0; p < points.size(); ++p) {
    const double at = std::clamp(points[p], x.front(), x.back());
    const auto above = std::upper_bound(x.begin(), x.end() - 1, at) - x.begin();
    const auto i = static_cast<size_t>(std::max<int64_t>(above, 1) - 1);
    const double h = x[i + 1] - x[i], left = (x[i + 1] - at) / h, right = (at - x[i]) / h;
    const auto row = static_cast<int64_t>(p);
    rows[row][static_cast<int64_t>(i)] += left;
    rows[row][static_cast<int64_t>(i) + 1] += right;
    for (int64_t k = 0; k < n; ++k)
      rows[row][k] += h * h / 6 *
                      ((left * left * left - left) * curvature[i][static_cast<size_t>(k)] +
                       (right * right * right - right) * curvature[i + 1][static_cast<size_t>(k)]);
  }
  return out;
}

/// Where the offsets -from/2 .. from/2 of the source stand among those of the destination.
std::vector<double> geometric_positions(int64_t from, int64_t to) {
  const auto half = static_cast<double>(from / 2), reach = static_cast<double>(to / 2);
  double left = 1.01, right = 1.5, q = left;
  while (right - left > 1e-6) {
    q = (left + right) / 2;
    ((1 - std::pow(q, half)) / (1 - q) > reach ? right : left) = q;
  }
  std::vector<double> outward;
  double at = 1;
  for (int64_t i = 0; i < from / 2; ++i) {
    outward.push_back(at);
    at += std::pow(q, static_cast<double>(i + 1));
  }
  std::vector<double> positions;
  for (auto i = outward.rbegin(); i != outward.rend(); ++i) positions.push_back(-*i);
  positions.push_back(0);
  positions.insert(positions.end(), outward.begin(), outward.end());
  return positions;
}

/// [2*to-1, 2*from-1] for one axis.
torch::Tensor axis_matrix(int64_t from, int64_t to) {
  const int64_t source = 2 * from - 1, target = 2 * to - 1;
  if (source == target) return torch::eye(source, torch::kDouble);
  std::vector<double> points;
  for (int64_t i = -(target / 2); i <= target / 2; ++i) points.push_back(static_cast<double>(i));
  return spline_matrix(geometric_positions(source, target), points);
}

}  // namespace

int64_t relative_table_rows(Size2 window, bool class_token) {
  return (2 * window.h - 1) * (2 * window.w - 1) + (class_token ? kClassRows : 0);
}

torch::Tensor relative_position_index(Size2 window, bool class_token) {
  const auto y = torch::arange(window.h, torch::kLong).repeat_interleave(window.w);
  const auto x = torch::arange(window.w, torch::kLong).repeat(window.h);
  const auto offset = [](const torch::Tensor& at) { return at.unsqueeze(1) - at.unsqueeze(0); };
  const auto index =
      (offset(y) + (window.h - 1)) * (2 * window.w - 1) + offset(x) + (window.w - 1);  // [N, N]
  if (!class_token) return index;
  const int64_t N = window.area() + 1, rows = relative_table_rows(window, true);
  auto out = torch::zeros({N, N}, torch::kLong);
  out.slice(0, 1).slice(1, 1).copy_(index);
  out.select(0, 0).fill_(rows - 3);
  out.select(1, 0).fill_(rows - 2);
  out.select(0, 0).select(0, 0).fill_(rows - 1);
  return out;
}

torch::Tensor relative_position_bias(const torch::Tensor& table, const torch::Tensor& index) {
  const int64_t N = index.size(0);
  return table.index_select(0, index.flatten()).view({N, N, -1}).permute({2, 0, 1});
}

torch::Tensor resize_relative_table(const torch::Tensor& table, Size2 from, Size2 to, bool class_token) {
  LACUNA_ASSERT(table.size(0) == relative_table_rows(from, class_token));
  if (from == to) return table;
  const int64_t offsets = relative_table_rows(from, false);
  const auto grid = table.slice(0, 0, offsets)
                        .t()
                        .reshape({table.size(1), 2 * from.h - 1, 2 * from.w - 1})
                        .to(torch::kDouble);
  const auto resized =
      torch::matmul(torch::matmul(axis_matrix(from.h, to.h), grid), axis_matrix(from.w, to.w).t());
  return torch::cat({resized.flatten(1).t().to(table.scalar_type()), table.slice(0, offsets)}).contiguous();
}

}  // namespace lacuna::nn
