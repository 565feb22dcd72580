#include "lacuna/io/motion.h"

#include <ATen/ATen.h>

#include "lacuna/core/error.h"
#include "lacuna/io/motion_text.h"

namespace lacuna::io {

namespace {

/// Rodrigues' formula: rotations [N, 3] -> matrices [N, 3, 3] that turn row vectors by the transposed sense
/// of column vectors' rotation, as exponential maps are written in Human3.6M's and CMU's arrays.
at::Tensor matrices(const at::Tensor& rotations) {
  const auto angle = at::linalg_vector_norm(rotations, 2, at::OptionalIntArrayRef({-1}), true);
  const auto axis = rotations / angle.clamp_min(1e-12);
  const auto zero = at::zeros_like(axis.select(1, 0));
  const auto x = axis.select(1, 0), y = axis.select(1, 1), z = axis.select(1, 2);
  const auto cross = at::stack({zero, -z, y, z, zero, -x, -y, x, zero}, 1).view({-1, 3, 3});
  const auto a = angle.unsqueeze(-1);
  return at::eye(3, rotations.options()) + a.sin() * cross + (1 - a.cos()) * at::bmm(cross, cross);
}

}  // namespace

at::Tensor forward_kinematics(const at::Tensor& rotations, const at::Tensor& offsets, const at::Tensor& root,
                              const std::vector<int64_t>& parents) {
  const int64_t T = rotations.size(0), J = rotations.size(1);
  LACUNA_ASSERT(static_cast<int64_t>(parents.size()) == J && offsets.size(0) == J);
  const auto turns = matrices(rotations.reshape({-1, 3}).to(at::kDouble)).view({T, J, 3, 3});
  const auto reach = offsets.to(at::kDouble);
  std::vector<at::Tensor> rotation, position;
  for (int64_t j = 0; j < J; ++j) {
    const auto own = turns.select(1, j);
    const int64_t parent = parents[static_cast<size_t>(j)];
    LACUNA_ASSERT(parent < j);
    if (parent < 0) {
      rotation.push_back(own);
      position.push_back(reach[j] + root.to(at::kDouble));
      continue;
    }
    const auto up = rotation[static_cast<size_t>(parent)];  // a copy: the vector grows below
    rotation.push_back(at::bmm(own, up));
    position.push_back(position[static_cast<size_t>(parent)] + at::matmul(reach[j], up));
  }
  return at::stack(position, 1);
}

at::Tensor upright(const at::Tensor& points) {
  return at::stack({points.select(-1, 0), -points.select(-1, 2), points.select(-1, 1)}, -1);
}

void check_motion_size(const std::string& name, int64_t frames, int64_t values, const MotionLimits& limits) {
  if (frames < 1) fail(name, str("holds ", frames, " frames"), "remove or repair the file");
  int64_t all = 0;
  if (__builtin_mul_overflow(frames, values, &all) || all > limits.max_values)
    fail(name,
         str("its header says ", frames, " frames of ", values, " numbers, the limit is ", limits.max_values),
         "cut the recording into pieces if it is meant to be so long, else remove it");
}

}  // namespace lacuna::io
