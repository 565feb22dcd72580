// Acclaim's ASF skeletons and AMC motions, as CMU's database has them.

#include <ATen/ATen.h>

#include <algorithm>
#include <numbers>

#include "lacuna/core/error.h"
#include "lacuna/io/motion.h"
#include "lacuna/io/motion_text.h"

namespace lacuna::io {

namespace {

constexpr double kCmuRate = 120;
constexpr double kMetresInAnInch = 0.0254;

/// Turned about x, then y, then z (the order "XYZ" of ASF).
Matrix3 euler_xyz(const Vector3& angles) {
  return multiply(rotation_about(2, angles[2]),
                  multiply(rotation_about(1, angles[1]), rotation_about(0, angles[0])));
}

struct Bone {
  std::string name;
  int64_t parent = -1;  ///< bone; 0 is the root
  Vector3 reach{};      ///< direction * length
  Matrix3 axis = identity3();
  std::vector<size_t> turns;  ///< axes of its degrees of freedom, in the order of the values
};

}  // namespace

struct AsfSkeleton::Impl {
  std::vector<Bone> bones;
  std::vector<std::string> root_order;
  double unit = 1;  ///< metres
  double to_radians = std::numbers::pi / 180;
  MotionLimits limits;
  std::shared_ptr<Skeleton> skeleton = std::make_shared<Skeleton>();

  Bone* find(const std::string& name) {
    const auto found =
        std::find_if(bones.begin(), bones.end(), [&](const Bone& b) { return b.name == name; });
    return found == bones.end() ? nullptr : &*found;
  }

  void read_units(Words& words) {
    while (!words.peek().empty() && !words.peek().starts_with(':')) {
      const auto key = words.word();
      if (key == "length")
        unit = kMetresInAnInch / words.number();
      else if (key == "angle")
        to_radians = words.word() == "deg" ? std::numbers::pi / 180 : 1;
      else
        words.word();
    }
  }

  void read_root(Words& words) {
    while (!words.peek().empty() && !words.peek().starts_with(':')) {
      const auto key = words.word();
      if (key == "order") {
        while (words.peek() != "axis" && !words.peek().starts_with(':') && !words.peek().empty())
          root_order.push_back(words.word());
      } else if (key == "axis") {
        words.word();
      } else {
        words.vector();  // position, orientation: zero in CMU's files, and the motion's values replace them
      }
    }
  }

  void read_bone(Words& words) {
    Bone bone;
    Vector3 direction{};
    double length = 0;
    for (auto key = words.word(); key != "end"; key = words.word()) {
      if (key == "name") {
        bone.name = words.word();
      } else if (key == "direction") {
        direction = words.vector();
      } else if (key == "length") {
        length = words.number();
      } else if (key == "axis") {
        auto angles = words.vector();
        for (double& angle : angles) angle *= to_radians;
        bone.axis = euler_xyz(angles);
        words.word();  // XYZ
      } else if (key == "dof") {
        for (auto next = words.peek(); next == "rx" || next == "ry" || next == "rz"; next = words.peek())
          bone.turns.push_back(static_cast<size_t>(words.word()[1] - 'x'));
      } else {
        words.line();  // id, bodymass, cofmass, limits
      }
    }
    bone.reach = scaled(direction, length);
    bones.push_back(std::move(bone));
  }

  void read_bones(Words& words) {
    while (words.peek() == "begin") {
      words.word();
      read_bone(words);
      if (std::ssize(bones) > limits.max_joints) return;
    }
  }

  void read_hierarchy(Words& words, const std::string& name) {
    words.expect("begin");
    for (auto parent = words.word(); parent != "end"; parent = words.word()) {
      const Bone* up = find(parent);
      if (up == nullptr)
        fail(name, str("its hierarchy names the unknown bone '", parent, "'"), "repair the file");
      const auto number = up - bones.data();
      const auto line = words.line();
      Words children(line, name);
      while (!children.done()) {
        const auto child = children.word();
        Bone* bone = find(child);
        if (bone == nullptr || bone == bones.data())
          fail(name, str("its hierarchy names the unknown bone '", child, "'"), "repair the file");
        bone->parent = number;
      }
    }
  }

  /// Parents before children, whatever the order in the file.
  void sort(const std::string& name) {
    std::vector<Bone> sorted;
    std::vector<int64_t> place(bones.size(), -1);
    while (sorted.size() < bones.size()) {
      const size_t before = sorted.size();
      for (size_t i = 0; i < bones.size(); ++i) {
        const int64_t parent = bones[i].parent;
        if (place[i] >= 0 || (i > 0 && (parent < 0 || place[static_cast<size_t>(parent)] < 0))) continue;
        place[i] = std::ssize(sorted);
        sorted.push_back(bones[i]);
        if (i > 0) sorted.back().parent = place[static_cast<size_t>(parent)];
      }
      if (sorted.size() == before) fail(name, "a bone of it hangs on nothing", "repair the hierarchy");
    }
    bones = std::move(sorted);
    for (const auto& bone : bones) {
      skeleton->joints.push_back(bone.name);
      skeleton->parents.push_back(bone.parent);
    }
  }

  void pose(const std::vector<std::vector<double>>& values, float* out) const {
    std::vector<Matrix3> rotation(bones.size());
    std::vector<Vector3> position(bones.size());
    Vector3 angles{};
    for (size_t i = 0; i < root_order.size(); ++i) {
      const auto axis = static_cast<size_t>(root_order[i].back() - 'X');
      if (root_order[i].front() == 'T')
        position[0][axis] = values[0][i];
      else
        angles[axis] = values[0][i] * to_radians;
    }
    rotation[0] = euler_xyz(angles);
    store_upright(position[0], unit, out);
    for (size_t b = 1; b < bones.size(); ++b) {
      const auto& bone = bones[b];
      const auto up = static_cast<size_t>(bone.parent);
      Vector3 own{};
      for (size_t i = 0; i < bone.turns.size(); ++i) own[bone.turns[i]] = values[b][i] * to_radians;
      const Matrix3 turn = multiply(bone.axis, multiply(euler_xyz(own), transposed(bone.axis)));
      rotation[b] = multiply(rotation[up], turn);
      position[b] = add(position[up], rotated(rotation[b], bone.reach));
      store_upright(position[b], unit, out + 3 * b);
    }
  }
};

AsfSkeleton::AsfSkeleton(std::string_view text, const std::string& name, const MotionLimits& limits)
    : impl_(std::make_unique<Impl>()) {
  impl_->limits = limits;
  impl_->bones.push_back({.name = "root"});
  Words words(text, name);
  bool hangs_together = false;
  while (!words.done()) {
    const auto section = words.word();
    if (section == ":units") {
      impl_->read_units(words);
    } else if (section == ":root") {
      impl_->read_root(words);
    } else if (section == ":bonedata") {
      impl_->read_bones(words);
    } else if (section == ":hierarchy") {
      impl_->read_hierarchy(words, name);
      hangs_together = true;
    } else {
      words.line();
    }
  }
  if (std::ssize(impl_->bones) > limits.max_joints)
    fail(name, str("has more than ", limits.max_joints, " bones"), "remove or repair the file");
  if (!hangs_together || impl_->root_order.empty())
    fail(name, "has no :root order or no :hierarchy", "give a whole ASF file");
  for (const auto& channel : impl_->root_order)
    if (channel.size() != 2 || (channel[0] != 'T' && channel[0] != 'R') || channel[1] < 'X' ||
        channel[1] > 'Z')
      fail(name, str("'", channel, "' is no channel of the root"), "use TX TY TZ RX RY RZ");
  impl_->sort(name);
}

AsfSkeleton::~AsfSkeleton() = default;
AsfSkeleton::AsfSkeleton(AsfSkeleton&&) noexcept = default;

Motion AsfSkeleton::read_amc(std::string_view text, const std::string& name) const {
  const auto& bones = impl_->bones;
  const auto joints = std::ssize(bones);
  Words words(text, name);
  while (!words.done() &&
         (words.peek().empty() || std::isdigit(static_cast<unsigned char>(words.peek()[0])) == 0))
    words.line(), words.done();
  std::vector<float> positions;
  std::vector<std::vector<double>> values(bones.size());
  for (size_t b = 0; b < bones.size(); ++b)
    values[b].resize(b == 0 ? impl_->root_order.size() : bones[b].turns.size());
  int64_t frames = 0;
  while (!words.done()) {
    words.integer();  // its number
    while (!words.done() && std::isdigit(static_cast<unsigned char>(words.peek()[0])) == 0) {
      const auto bone_name = words.word();
      const Bone* bone = impl_->find(bone_name);
      if (bone == nullptr)
        fail(name, str("moves the unknown bone '", bone_name, "'"), "give the skeleton that belongs to it");
      for (double& value : values[static_cast<size_t>(bone - bones.data())]) value = words.number();
    }
    check_motion_size(name, ++frames, 3 * joints, impl_->limits);
    positions.resize(static_cast<size_t>(frames * joints * 3));
    impl_->pose(values, positions.data() + (frames - 1) * joints * 3);
  }
  check_motion_size(name, frames, 3 * joints, impl_->limits);
  return {impl_->skeleton, at::tensor(positions, at::kFloat).view({frames, joints, 3}), kCmuRate};
}

}  // namespace lacuna::io
