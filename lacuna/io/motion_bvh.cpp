// Biovision's BVH: a hierarchy of joints with offsets and channels, then a line of channel values a frame.

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

#include "lacuna/core/error.h"
#include "lacuna/io/motion.h"
#include "lacuna/io/motion_text.h"

namespace lacuna::io {

namespace {

struct Joint {
  std::string name;
  int64_t parent = -1;
  Vector3 offset{};
  std::vector<std::string> channels;
};

class BvhReader {
 public:
  BvhReader(std::string_view text, const std::string& name, const MotionLimits& limits)
      : words_(text, name), name_(name), limits_(limits) {}

  Motion read() {
    words_.expect("HIERARCHY");
    words_.expect("ROOT");
    read_joint(-1);
    words_.expect("MOTION");
    words_.expect("Frames:");
    const int64_t frames = words_.integer();
    words_.expect("Frame");
    words_.expect("Time:");
    const double seconds = words_.number();
    int64_t channels = 0;
    for (const auto& joint : joints_) channels += std::ssize(joint.channels);
    check_motion_size(name_, frames, std::max<int64_t>(channels, 3 * std::ssize(joints_)), limits_);
    auto skeleton = std::make_shared<Skeleton>();
    for (const auto& joint : joints_) {
      skeleton->joints.push_back(joint.name);
      skeleton->parents.push_back(joint.parent);
    }
    auto positions = at::empty({frames, std::ssize(joints_), 3}, at::kFloat);
    for (int64_t t = 0; t < frames; ++t)
      read_frame(positions.data_ptr<float>() + t * std::ssize(joints_) * 3);
    return {std::move(skeleton), positions, seconds > 0 ? 1 / seconds : 0};
  }

 private:
  // One joint and all below it, depth first: parents come before their children.
  void read_joint(int64_t parent) {
    if (std::ssize(joints_) >= limits_.max_joints)
      fail(name_, str("has more than ", limits_.max_joints, " joints"), "remove or repair the file");
    const int64_t own = std::ssize(joints_);
    joints_.push_back({words_.word(), parent});
    words_.expect("{");
    words_.expect("OFFSET");
    joints_.back().offset = words_.vector();
    words_.expect("CHANNELS");
    const int64_t count = words_.integer();
    if (count < 0 || count > 6) fail(name_, str("gives a joint ", count, " channels"), "repair the file");
    for (int64_t i = 0; i < count; ++i) joints_.back().channels.push_back(words_.word());
    for (auto next = words_.word(); next != "}"; next = words_.word()) {
      if (next == "JOINT") {
        read_joint(own);
      } else if (next == "End") {
        for (const char* expected : {"Site", "{", "OFFSET"}) words_.expect(expected);
        words_.vector();
        words_.expect("}");
      } else {
        fail(name_, str("'", next, "' stands where JOINT, End Site or } should"), "repair the file");
      }
    }
  }

  void read_frame(float* out) {
    std::vector<Matrix3> rotation(joints_.size());
    std::vector<Vector3> position(joints_.size());
    for (size_t j = 0; j < joints_.size(); ++j) {
      Vector3 shift = joints_[j].offset;
      Matrix3 turn = identity3();
      bool moved = false;
      for (const auto& channel : joints_[j].channels) {
        const double value = words_.number();
        if (channel.size() < 2 || channel[0] < 'X' || channel[0] > 'Z')
          fail(name_, str("'", channel, "' is no channel"), "use Xposition ... Zrotation");
        const auto axis = static_cast<size_t>(channel[0] - 'X');
        if (channel.ends_with("position")) {
          if (!moved) shift = {};
          moved = true;
          shift[axis] = value;
        } else {
          turn = multiply(turn, rotation_about(axis, value * std::numbers::pi / 180));
        }
      }
      const int64_t parent = joints_[j].parent;
      if (parent < 0) {
        rotation[j] = turn, position[j] = shift;
      } else {
        const auto up = static_cast<size_t>(parent);
        rotation[j] = multiply(rotation[up], turn);
        position[j] = add(position[up], rotated(rotation[up], shift));
      }
      store_upright(position[j], 1, out + 3 * j);
    }
  }

  Words words_;
  const std::string& name_;
  MotionLimits limits_;
  std::vector<Joint> joints_;
};

}  // namespace

Motion read_bvh(std::string_view text, const std::string& name, const MotionLimits& limits) {
  return BvhReader(text, name, limits).read();
}

}  // namespace lacuna::io
