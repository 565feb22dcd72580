#include "lacuna/nn/rotary.h"

#include "lacuna/core/torch.h"

#include <cmath>

namespace lacuna::nn {

namespace {

/// [S, N, width]: the angles of one coordinate, tiled.
Tensor tiled_angles(const Tensor& position, int64_t width) {
  const int64_t half = width / 2;
  const auto omega = torch::arange(half, position.options().dtype(torch::kFloat))
                         .div_(static_cast<double>(half))
                         .mul_(-std::log(10000.0))
                         .exp_();
  const auto angle = position.to(torch::kFloat).unsqueeze(-1) * omega;  // [S, N, half]
  return torch::cat({angle, angle}, -1);
}

}  // namespace

Rotation rotation_3d(const Tensor& ids, const Grid3& grid, int64_t head_dim) {
  const int64_t width = 2 * ((head_dim / 3) / 2);
  const auto in_plane = ids.remainder(grid.plane());
  std::vector<Tensor> angles;
  for (const auto& position :
       {ids.div(grid.plane(), "floor"), in_plane.div(grid.w, "floor"), in_plane.remainder(grid.w)})
    angles.push_back(tiled_angles(position, width));
  angles.push_back(torch::zeros({ids.size(0), ids.size(1), head_dim - 3 * width}, angles[0].options()));
  const auto angle = torch::cat(angles, -1);  // [S, N, head_dim]
  return {angle.cos(), angle.sin()};
}

Tensor rotate_queries_and_keys(const Tensor& qkv, int64_t num_heads, const Rotation& rotation) {
  const int64_t S = qkv.size(0), N = qkv.size(1), D = qkv.size(2) / 3, d = D / num_heads;
  const auto parts = qkv.view({S, N, 3, num_heads, d});
  const auto x = parts.slice(2, 0, 2);  // queries and keys
  const auto pairs = x.reshape({S, N, 2, num_heads, d / 2, 2});
  const auto turned = torch::stack({-pairs.select(-1, 1), pairs.select(-1, 0)}, -1).view(x.sizes());
  const auto wide = [&](const Tensor& table) {
    return table.to(qkv.scalar_type()).view({table.size(0), N, 1, 1, d});
  };
  const auto rotated = x * wide(rotation.cos) + turned * wide(rotation.sin);
  return torch::cat({rotated, parts.slice(2, 2)}, 2).view({S, N, 3 * D});
}

}  // namespace lacuna::nn
