#pragma once
// Motion capture files: BVH, CMU's ASF/AMC, NPZ archives of positions or of rotations.

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lacuna/io/file.h"

namespace lacuna::io {

/// The joints of a body. Joint 0 is the root; every other one comes behind its parent.
struct Skeleton {
  std::vector<std::string> joints;
  std::vector<int64_t> parents;  ///< by joint; -1 for the root
};

/// One recording.
struct Motion {
  std::shared_ptr<const Skeleton> skeleton;
  at::Tensor positions;  ///< [T, J, 3] float32 in the file's unit; axis 2 is up
  double rate = 0;       ///< frames a second; 0: not known
  int64_t frames() const { return positions.size(0); }  ///< T
};

/// A larger file is refused instead of filling the memory.
struct MotionLimits {
  int64_t max_values = int64_t{1} << 28;  ///< numbers of a recording
  int64_t max_joints = 10000;
};

/// Biovision's BVH: hierarchy, channels, frames; end sites are left out. Y is up in the file. Error naming
/// `name`: broken, no frames, values that are not finite, or above the limits.
Motion read_bvh(std::string_view text, const std::string& name, const MotionLimits& limits = {});

/// Acclaim's skeleton (ASF), as CMU's database has it: what an AMC file's numbers turn. Y is up in the files.
class AsfSkeleton {
 public:
  /// Error naming `name` where it is broken.
  AsfSkeleton(std::string_view text, const std::string& name, const MotionLimits& limits = {});
  ~AsfSkeleton();
  AsfSkeleton(AsfSkeleton&&) noexcept;
  /// A motion of this skeleton, 120 frames a second, lengths in metres (CMU's unit is an inch / 0.45). Error
  /// naming `name` where it is broken or names an unknown bone.
  Motion read_amc(std::string_view text, const std::string& name) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Positions [T, J, 3] of a skeleton given by rotations relative to the parent. rotations [T, J, 3]:
/// exponential maps in radians, row vectors (p_j = p_parent + offset_j R_parent, R_j = R(w_j) R_parent);
/// offsets [J, 3]; root [T, 3]. float64.
at::Tensor forward_kinematics(const at::Tensor& rotations, const at::Tensor& offsets, const at::Tensor& root,
                              const std::vector<int64_t>& parents);
/// [..., 3] with y up -> the same with axis 2 up: (x, -z, y).
at::Tensor upright(const at::Tensor& points);

/// The arrays of an .npz archive (stored or deflated) by name: float32, float64, int32, int64, uint8. Error:
/// broken, pickled objects, or an array above the limit.
std::map<std::string, at::Tensor> read_npz(Bytes bytes, const std::string& name,
                                           const MotionLimits& limits = {});

}  // namespace lacuna::io
