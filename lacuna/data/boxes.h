#pragma once
// Labelled boxes around objects of a sweep: the class of each point is that of the box that holds it.

#include <array>
#include <string>
#include <vector>

#include "lacuna/data/matrix3x4.h"
#include "lacuna/io/points.h"

namespace lacuna::data {

/// A box anywhere in space.
struct Box {
  /// Brings a point into the box's frame: its middle at the origin, its edges along the axes. A rotation and
  /// a move.
  Matrix3x4 frame{};
  std::array<double, 3> half{};  ///< half of its edges, in metres
  int32_t label = -1;            ///< class of what it holds; -1: not known

  bool holds(const float* xyz) const;  ///< borders included
};

/// Upright in a frame whose z points up: turned by `yaw` radians, counter-clockwise seen from above, about
/// its middle. `size`: length (along the direction of yaw), width, height.
Box upright_box(const std::array<double, 3>& middle, const std::array<double, 3>& size, double yaw,
                int32_t label);

/// The label of the first box that holds it, else `background`, for each point.
std::vector<int32_t> labels_by_boxes(const io::Points& points, const std::vector<Box>& boxes,
                                     int32_t background);
/// How many points each box holds, whatever the others hold.
std::vector<int64_t> points_in_boxes(const io::Points& points, const std::vector<Box>& boxes);

/// What KITTI's calib/NNNNNN.txt says.
struct KittiCalibration {
  Matrix3x4 to_camera{};  ///< from the scanner to the rectified camera 0: x right, y down, z ahead
  Matrix3x4 to_image{};   ///< P2: from there to the pixels of camera 2, homogeneous
};
/// Error naming `name` when P2, R0_rect or Tr_velo_to_cam is not there.
KittiCalibration read_kitti_calibration(const std::string& text, const std::string& name);

/// What KITTI's label_2/NNNNNN.txt says of a frame.
struct KittiLabels {
  std::vector<Box> boxes;  ///< in the scanner's frame; label: 1 + kitti_classes()' index
  std::vector<std::array<double, 4>>
      dont_care{};  ///< left, top, right, bottom in pixels: nobody looked there
};
/// Error naming `name` and the line that is none.
KittiLabels read_kitti_labels(const std::string& text, const std::string& name,
                              const KittiCalibration& calibration);
/// Car, Van, Truck, Pedestrian, Person_sitting, Cyclist, Tram, Misc.
const std::vector<std::string>& kitti_classes();

/// Labels of a KITTI sweep. Only what camera 2 sees (a picture of width x height pixels) was looked at: the
/// other points, and those of no box in a "DontCare" rectangle, have the label -1; the background has 0.
std::vector<int32_t> kitti_point_labels(const io::Points& points, const KittiLabels& labels,
                                        const KittiCalibration& calibration, int64_t width, int64_t height);

}  // namespace lacuna::data
