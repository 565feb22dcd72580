#include "lacuna/data/boxes.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>

#include "lacuna/core/error.h"

namespace lacuna::data {

namespace {

constexpr double kNearest = 0.1;  // metres before the camera that it can see

/// `count` numbers of a line behind its first word.
std::vector<double> numbers_behind(std::istringstream& line, size_t count) {
  std::vector<double> out;
  for (double value = 0; out.size() < count && line >> value;) out.push_back(value);
  return out;
}

/// The box of a line of label_2: its bottom's middle and the turn about the camera's y, which points down.
Matrix3x4 into_kitti_box(double height, const std::array<double, 3>& bottom, double turn) {
  const double c = std::cos(turn), s = std::sin(turn);
  const auto [x, y, z] = bottom;
  // Length runs along x, height along y, width along z.
  return {c, 0, -s, -c * x + s * z, 0, 1, 0, height / 2 - y, s, 0, c, -s * x - c * z};
}

}  // namespace

bool Box::holds(const float* xyz) const {
  const auto inside = applied(frame, xyz);
  for (size_t axis = 0; axis < 3; ++axis)
    if (!(std::abs(inside[axis]) <= half[axis])) return false;  // NaN is nowhere
  return true;
}

Box upright_box(const std::array<double, 3>& middle, const std::array<double, 3>& size, double yaw,
                int32_t label) {
  const double c = std::cos(yaw), s = std::sin(yaw);
  const auto [x, y, z] = middle;
  return {.frame = {c, s, 0, -c * x - s * y, -s, c, 0, s * x - c * y, 0, 0, 1, -z},
          .half = {size[0] / 2, size[1] / 2, size[2] / 2},
          .label = label};
}

std::vector<int32_t> labels_by_boxes(const io::Points& points, const std::vector<Box>& boxes,
                                     int32_t background) {
  std::vector<int32_t> out(static_cast<size_t>(points.count()), background);
  const size_t F = points.fields.size();
  for (size_t i = 0; i < out.size(); ++i) {
    const float* xyz = &points.values[i * F];
    const auto found =
        std::find_if(boxes.begin(), boxes.end(), [xyz](const Box& box) { return box.holds(xyz); });
    if (found != boxes.end()) out[i] = found->label;
  }
  return out;
}

std::vector<int64_t> points_in_boxes(const io::Points& points, const std::vector<Box>& boxes) {
  std::vector<int64_t> out(boxes.size(), 0);
  const size_t F = points.fields.size();
  for (size_t i = 0; i < points.values.size(); i += F)
    for (size_t b = 0; b < boxes.size(); ++b) out[b] += boxes[b].holds(&points.values[i]) ? 1 : 0;
  return out;
}

KittiCalibration read_kitti_calibration(const std::string& text, const std::string& name) {
  std::map<std::string, std::vector<double>> rows;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string key;
    if (words >> key) rows[key] = numbers_behind(words, 12);
  }
  const auto wanted = [&](const std::string& key, size_t count) -> const std::vector<double>& {
    if (rows[key].size() != count)
      fail(name, str("has no line '", key, "' with ", count, " numbers"),
           "use the calib file of KITTI's object benchmark");
    return rows[key];
  };
  KittiCalibration out;
  Matrix3x4 scanner{}, rectify{};
  std::copy_n(wanted("P2:", 12).begin(), 12, out.to_image.begin());
  std::copy_n(wanted("Tr_velo_to_cam:", 12).begin(), 12, scanner.begin());
  const auto& turn = wanted("R0_rect:", 9);
  for (size_t i = 0; i < 9; ++i) rectify[4 * (i / 3) + i % 3] = turn[i];
  out.to_camera = chained(rectify, scanner);
  return out;
}

const std::vector<std::string>& kitti_classes() {
  static const std::vector<std::string> kClasses{"Car",     "Van",  "Truck", "Pedestrian", "Person_sitting",
                                                 "Cyclist", "Tram", "Misc"};
  return kClasses;
}

KittiLabels read_kitti_labels(const std::string& text, const std::string& name,
                              const KittiCalibration& calibration) {
  KittiLabels out;
  std::istringstream lines(text);
  int64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    std::istringstream words(line);
    std::string kind;
    if (!(words >> kind)) continue;
    // truncated, occluded, alpha; left, top, right, bottom; height, width, length; x, y, z; turn
    const auto v = numbers_behind(words, 14);
    const auto& classes = kitti_classes();
    const auto found = std::find(classes.begin(), classes.end(), kind);
    if (v.size() != 14 || (found == classes.end() && kind != "DontCare"))
      fail(name, str("line ", number, " is no object of KITTI's benchmark"),
           "write class, 14 numbers: see its devkit");
    if (kind == "DontCare") {
      out.dont_care.push_back({v[3], v[4], v[5], v[6]});
      continue;
    }
    out.boxes.push_back(
        {.frame = chained(into_kitti_box(v[7], {v[10], v[11], v[12]}, v[13]), calibration.to_camera),
         .half = {v[9] / 2, v[7] / 2, v[8] / 2},
         .label = static_cast<int32_t>(1 + std::distance(classes.begin(), found))});
  }
  return out;
}

std::vector<int32_t> kitti_point_labels(const io::Points& points, const KittiLabels& labels,
                                        const KittiCalibration& calibration, int64_t width, int64_t height) {
  auto out = labels_by_boxes(points, labels.boxes, 0);
  const Matrix3x4 to_image = chained(calibration.to_image, calibration.to_camera);
  const size_t F = points.fields.size();
  for (size_t i = 0; i < out.size(); ++i) {
    if (out[i] != 0) continue;
    const auto [u, v, depth] = applied(to_image, &points.values[i * F]);
    const double x = u / depth, y = v / depth;
    const auto within = [&](double left, double top, double right, double bottom) {
      return x >= left && x <= right && y >= top && y <= bottom;
    };
    const bool seen =
        depth > kNearest && within(0, 0, static_cast<double>(width - 1), static_cast<double>(height - 1));
    const bool skipped = std::any_of(labels.dont_care.begin(), labels.dont_care.end(),
                                     [&](const auto& box) { return within(box[0], box[1], box[2], box[3]); });
    if (!seen || skipped) out[i] = -1;
  }
  return out;
}

}  // namespace lacuna::data
