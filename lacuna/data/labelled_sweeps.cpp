#include "lacuna/data/labelled_sweeps.h"

#include <algorithm>
#include <map>

#include "lacuna/core/error.h"
#include "lacuna/data/boxes.h"
#include "lacuna/data/point_classes.h"
#include "lacuna/io/image.h"
#include "lacuna/io/point_files.h"

namespace lacuna::data {

namespace fs = io::fs;

namespace {

constexpr const char* kBackground = "background";
constexpr int64_t kKittiWidth = 1242, kKittiHeight = 375;  // of most of its pictures

/// Sweeps of a list; their labels are made when they are read.
class LabelledSweeps : public Dataset, public PointClasses {
 public:
  explicit LabelledSweeps(std::string uri) : uri_(std::move(uri)) {}
  int64_t label(int64_t /*index*/) const override { return kNoLabel; }
  std::vector<std::string> classes() const override { return {}; }
  std::vector<std::string> point_classes() const override { return point_classes_; }
  std::string uri() const override { return uri_; }
  std::string modality() const override { return "points"; }

 protected:
  std::vector<std::string> point_classes_{kBackground};

 private:
  std::string uri_;
};

class Kitti final : public LabelledSweeps {
 public:
  Kitti(fs::path root, std::string uri) : LabelledSweeps(std::move(uri)), root_(std::move(root)) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(root_ / "velodyne", error))
      if (entry.path().extension() == ".bin") frames_.push_back(entry.path().stem().string());
    if (frames_.empty())
      fail((root_ / "velodyne").string(), "holds no sweeps (.bin)", "unpack KITTI's velodyne files there");
    std::sort(frames_.begin(), frames_.end());
    const auto& names = kitti_classes();
    point_classes_.insert(point_classes_.end(), names.begin(), names.end());
  }
  int64_t size() const override { return std::ssize(frames_); }
  Record get(int64_t index) const override {
    const auto& frame = frames_[static_cast<size_t>(index)];
    const auto path = (root_ / "velodyne" / (frame + ".bin")).string();
    auto sweep = io::read_points(io::MappedFile(path).bytes(), path);
    std::error_code error;
    const auto label_path = beside("label_2", frame, ".txt");
    if (fs::exists(label_path, error)) label_points(frame, label_path, sweep);
    return {path, kNoLabel, std::move(sweep)};
  }

 private:
  fs::path beside(const char* folder, const std::string& frame, const char* extension) const {
    return root_ / folder / (frame + extension);
  }

  void label_points(const std::string& frame, const fs::path& label_path, io::Points& sweep) const {
    const auto calib_path = beside("calib", frame, ".txt");
    const auto calibration = read_kitti_calibration(io::read_file(calib_path), calib_path.string());
    const auto labels = read_kitti_labels(io::read_file(label_path), label_path.string(), calibration);
    int64_t width = kKittiWidth, height = kKittiHeight;
    std::error_code error;
    if (const auto picture = beside("image_2", frame, ".png"); fs::exists(picture, error)) {
      const auto info = io::probe_image(io::MappedFile(picture).bytes(), picture.string());
      width = info.width, height = info.height;
    }
    sweep.labels = kitti_point_labels(sweep, labels, calibration, width, height);
  }

  fs::path root_;
  std::vector<std::string> frames_;
};

/// The folders with sweeps inside, by split.
std::map<std::string, fs::path> kitti_folders(const fs::path& path) {
  std::map<std::string, fs::path> out;
  std::error_code error;
  for (const auto& [split, folder] : {std::pair("train", "training"), std::pair("test", "testing")})
    if (fs::is_directory(path / folder / "velodyne", error)) out.emplace(split, path / folder);
  return out;
}

class ListedSweeps final : public LabelledSweeps {
 public:
  explicit ListedSweeps(const fs::path& list)
      : LabelledSweeps(canonical_uri("points", list, "")), list_(list.string()) {
    const auto document = Json::parse(io::read_file(list), nullptr, /*allow_exceptions=*/false);
    try {
      std::map<int64_t, std::string> names;
      for (const auto& [name, number] : document.at("metainfo").at("categories").items())
        names.emplace(number.get<int64_t>(), name);
      for (const auto& [number, name] : names) {
        if (number != std::ssize(point_classes_) - 1)
          fail(list_, str("its categories leave out number ", std::ssize(point_classes_) - 1),
               "number them from 0 on");
        point_classes_.push_back(name);
      }
      for (const auto& frame : document.at("data_list")) add(frame, list.parent_path());
    } catch (const Json::exception& error) {
      fail(list_, str("is no list of frames (", error.what(), ")"),
           "give metainfo.categories and data_list as MMDetection3D's info files have them");
    }
    if (frames_.empty()) fail(list_, "lists no frame", "give another file");
  }
  int64_t size() const override { return std::ssize(frames_); }
  Record get(int64_t index) const override {
    const auto& frame = frames_[static_cast<size_t>(index)];
    auto sweep = io::read_points(io::MappedFile(frame.path).bytes(), frame.path);
    if (std::ssize(sweep.fields) != frame.fields)
      fail(frame.path, str("has ", sweep.fields.size(), " numbers a point, ", list_, " says ", frame.fields),
           "repair one of them");
    sweep.labels = labels_by_boxes(sweep, frame.boxes, 0);
    return {frame.path, kNoLabel, std::move(sweep)};
  }

 private:
  struct Frame {
    std::string path;
    int64_t fields = 0;
    std::vector<Box> boxes;
  };

  void add(const Json& entry, const fs::path& folder) {
    const auto& points = entry.at("lidar_points");
    Frame frame{(folder / points.at("lidar_path").get<std::string>()).string(),
                points.at("num_pts_feats").get<int64_t>(),
                {}};
    for (const auto& object : entry.at("instances")) {
      const auto box = object.at("bbox_3d").get<std::array<double, 7>>();
      const auto kind = object.at("bbox_label_3d").get<int64_t>();
      if (kind < -1 || kind + 1 >= std::ssize(point_classes_))
        fail(list_, str("an object of ", frame.path, " has the class ", kind), "add it to the categories");
      frame.boxes.push_back(upright_box({box[0], box[1], box[2]}, {box[3], box[4], box[5]}, box[6],
                                        static_cast<int32_t>(kind < 0 ? -1 : kind + 1)));
    }
    // An object of a known class goes before those that are to be ignored.
    std::stable_partition(frame.boxes.begin(), frame.boxes.end(), [](const Box& b) { return b.label >= 0; });
    frames_.push_back(std::move(frame));
  }

  std::string list_;
  std::vector<Frame> frames_;
};

}  // namespace

std::shared_ptr<Dataset> open_kitti(Uri& uri) {
  std::error_code error;
  const fs::path path = uri.path;
  if (fs::is_directory(path / "velodyne", error)) {
    uri.take("split", "");  // the folder is one split
    return std::make_shared<Kitti>(path, canonical_uri("points", path, ""));
  }
  const auto folders = kitti_folders(path);
  if (folders.empty()) return nullptr;
  const auto split = uri.take_split(kitti_splits(uri));
  return std::make_shared<Kitti>(folders.at(split), canonical_uri("points", path, split));
}

std::vector<std::string> kitti_splits(const Uri& uri) {
  std::vector<std::string> out;
  for (const auto& [name, folder] : kitti_folders(uri.path)) out.push_back(name);
  return out;
}

std::shared_ptr<Dataset> open_listed_sweeps(Uri& uri) {
  std::error_code error;
  const fs::path path = uri.path.ends_with(".json") ? fs::path(uri.path) : fs::path(uri.path) / "sample.json";
  if (!fs::is_regular_file(path, error)) return nullptr;
  uri.take("split", "");
  return std::make_shared<ListedSweeps>(path);
}

}  // namespace lacuna::data
