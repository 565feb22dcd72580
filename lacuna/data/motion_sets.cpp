// motion:FILE.npz, motion:DIR: recordings of bodies.
//
// An .npz holds either an array [T, J, 3] of positions for each recording ("S1/Walking 1": what stands behind
// the last slash, without a number at its end, is the class), "parents" [J] and, if known, "rate"; or
// "expmap" [frames, 3 + 3 J] (translation, then rotations relative to the parent), "starts" and "labels",
// with skeleton.npz (parents, offsets) and actions.json beside it.

#include <ATen/ATen.h>

#include <algorithm>
#include <mutex>
#include <nlohmann/json.hpp>

#include "lacuna/core/error.h"
#include "lacuna/data/folder.h"
#include "lacuna/data/motion.h"

namespace lacuna::data {

namespace fs = io::fs;

namespace {

/// CMU's expmap arrays: 60 frames a second; offsets in 1/70 of the length unit, which is an inch / 0.45.
constexpr double kExpmapRate = 60, kExpmapScale = 70, kCmuUnit = 0.0254 / 0.45;

struct Recording {
  std::string name;
  int64_t label;
  io::Motion motion;
};

class Recordings final : public Dataset {
 public:
  Recordings(std::vector<Recording> all, std::vector<std::string> classes, std::string uri)
      : all_(std::move(all)), classes_(std::move(classes)), uri_(std::move(uri)) {}
  int64_t size() const override { return std::ssize(all_); }
  Record get(int64_t index) const override {
    const auto& one = all_[static_cast<size_t>(index)];
    return {one.name, one.label, one.motion};
  }
  int64_t label(int64_t index) const override { return all_[static_cast<size_t>(index)].label; }
  std::vector<std::string> classes() const override { return classes_; }
  std::string uri() const override { return uri_; }
  std::string modality() const override { return "motion"; }

 private:
  std::vector<Recording> all_;
  std::vector<std::string> classes_;
  std::string uri_;
};

using Arrays = std::map<std::string, at::Tensor>;

Arrays read_arrays(const fs::path& path) {
  const std::string bytes = io::read_file(path.string());
  return io::read_npz(std::as_bytes(std::span(bytes)), path.string());
}

const at::Tensor& array_of(const Arrays& arrays, const std::string& name, const fs::path& path) {
  const auto found = arrays.find(name);
  if (found == arrays.end())
    fail(path.string(), str("holds no array '", name, "'"), "see docs/motion.md for what an npz must hold");
  return found->second;
}

std::vector<int64_t> parents_of(const Arrays& arrays, const fs::path& path) {
  const auto tensor = array_of(arrays, "parents", path).to(at::kLong).contiguous();
  std::vector<int64_t> out(tensor.data_ptr<int64_t>(), tensor.data_ptr<int64_t>() + tensor.numel());
  for (size_t j = 0; j < out.size(); ++j)
    if (out[j] >= static_cast<int64_t>(j) || (out[j] < 0) != (j == 0))
      fail(path.string(), str("joint ", j, " has parent ", out[j]),
           "joint 0 is the root with parent -1, and parents come before their children");
  return out;
}

std::shared_ptr<io::Skeleton> skeleton_of(std::vector<int64_t> parents) {
  auto out = std::make_shared<io::Skeleton>();
  for (size_t j = 0; j < parents.size(); ++j) out->joints.push_back(str("joint ", j));
  out->parents = std::move(parents);
  return out;
}

void require_finite(const at::Tensor& positions, const std::string& name) {
  if (!positions.isfinite().all().item<bool>())
    fail(name, "holds values that are not finite", "remove or repair the recording");
}

/// "S1/Walking 1" -> "Walking".
std::string class_of(std::string name) {
  name = name.substr(name.rfind('/') + 1);
  while (!name.empty() && (std::isdigit(static_cast<unsigned char>(name.back())) != 0 || name.back() == ' ' ||
                           name.back() == '_'))
    name.pop_back();
  return name;
}

std::shared_ptr<Dataset> open_positions(const Arrays& arrays, const fs::path& path, const std::string& uri) {
  const auto skeleton = skeleton_of(parents_of(arrays, path));
  const auto joints = std::ssize(skeleton->parents);
  const auto rate =
      arrays.count("rate") ? arrays.at("rate").to(at::kDouble).flatten()[0].item<double>() : 0.0;
  std::vector<Recording> all;
  std::vector<std::string> classes;
  for (const auto& [name, array] : arrays) {
    if (array.dim() != 3) continue;
    const std::string key = str(path.string(), "#", name);
    if (array.size(0) < 1 || array.size(1) != joints || array.size(2) != 3)
      fail(key, str("has shape ", array.sizes(), ", 'parents' names ", joints, " joints"),
           "store [frames, joints, 3]");
    require_finite(array, key);
    const auto word = class_of(name);
    auto found = std::find(classes.begin(), classes.end(), word);
    if (found == classes.end()) found = classes.insert(classes.end(), word);
    all.push_back({key, std::distance(classes.begin(), found), {skeleton, array.to(at::kFloat), rate}});
  }
  if (all.empty()) fail(path.string(), "holds no recording", "store arrays of shape [frames, joints, 3]");
  return std::make_shared<Recordings>(std::move(all), std::move(classes), uri);
}

std::vector<std::string> action_names(const fs::path& file, int64_t labels) {
  std::vector<std::string> out;
  std::error_code ignored;
  if (fs::exists(file, ignored)) {
    const auto document = nlohmann::json::parse(io::read_file(file.string()), nullptr, false);
    if (!document.is_array()) fail(file.string(), "is no JSON list of names", "repair or remove it");
    for (const auto& name : document) out.push_back(name.is_string() ? name.get<std::string>() : name.dump());
  }
  while (std::ssize(out) < labels) out.push_back(str(out.size()));
  return out;
}

std::shared_ptr<Dataset> open_rotations(const Arrays& arrays, const fs::path& path, const std::string& uri) {
  const fs::path body = path.parent_path() / "skeleton.npz";
  const auto bones = read_arrays(body);
  const auto parents = parents_of(bones, body);
  const auto joints = std::ssize(parents);
  const auto rows = array_of(arrays, "expmap", path).to(at::kDouble);
  const auto starts = array_of(arrays, "starts", path).to(at::kLong);
  const auto labels = array_of(arrays, "labels", path).to(at::kLong);
  if (rows.dim() != 2 || rows.size(1) != 3 + 3 * joints)
    fail(path.string(), str("'expmap' has shape ", rows.sizes(), ", the skeleton ", joints, " joints"),
         "store 3 + 3 x joints numbers a frame");
  if (starts.numel() != labels.numel() + 1 || labels.numel() < 1)
    fail(path.string(), "'starts' must have one more entry than 'labels'", "save the set again");
  require_finite(rows, path.string());
  const auto positions = io::upright(io::forward_kinematics(rows.slice(1, 3).view({-1, joints, 3}),
                                                            array_of(bones, "offsets", body),
                                                            rows.slice(1, 0, 3) * kExpmapScale, parents)) *
                         (kCmuUnit / kExpmapScale);
  const auto skeleton = skeleton_of(parents);
  std::vector<Recording> all;
  for (int64_t i = 0; i < labels.numel(); ++i) {
    const auto begin = starts[i].item<int64_t>(), end = starts[i + 1].item<int64_t>();
    if (begin < 0 || end <= begin || end > rows.size(0) || labels[i].item<int64_t>() < 0)
      fail(path.string(), str("sequence ", i, " runs from row ", begin, " to ", end), "save the set again");
    all.push_back({str(path.string(), "#", i),
                   labels[i].item<int64_t>(),
                   {skeleton, positions.slice(0, begin, end).to(at::kFloat).contiguous(), kExpmapRate}});
  }
  return std::make_shared<Recordings>(
      std::move(all), action_names(path.parent_path() / "actions.json", labels.max().item<int64_t>() + 1),
      uri);
}

std::shared_ptr<Dataset> open_npz(const fs::path& path, const std::string& uri) {
  const auto arrays = read_arrays(path);
  return arrays.count("expmap") ? open_rotations(arrays, path, uri) : open_positions(arrays, path, uri);
}

/// A folder of BVH or AMC files, decoded when they are asked for.
class MotionFiles final : public Dataset {
 public:
  explicit MotionFiles(std::shared_ptr<Dataset> files) : files_(std::move(files)) {}
  int64_t size() const override { return files_->size(); }
  Record get(int64_t index) const override {
    Record record = files_->get(index);
    const auto text = std::get<std::string>(record.content);
    const fs::path path = record.key;
    record.content = path.extension() == ".amc" ? skeleton_for(path).read_amc(text, record.key)
                                                : io::read_bvh(text, record.key);
    return record;
  }
  int64_t label(int64_t index) const override { return files_->label(index); }
  std::vector<std::string> classes() const override { return files_->classes(); }
  std::string uri() const override { return files_->uri(); }
  std::string modality() const override { return "motion"; }

 private:
  /// The skeleton of 01_02.amc: 01.asf, or the one .asf of its folder.
  const io::AsfSkeleton& skeleton_for(const fs::path& motion) const {
    const std::string stem = motion.stem().string();
    fs::path path = motion.parent_path() / (stem.substr(0, stem.find('_')) + ".asf");
    std::error_code error;
    if (!fs::exists(path, error)) {
      std::vector<fs::path> there;
      for (const auto& entry : fs::directory_iterator(motion.parent_path(), error))
        if (entry.path().extension() == ".asf") there.push_back(entry.path());
      if (there.size() != 1)
        fail(motion.string(), str("its skeleton ", path.filename().string(), " is not beside it"),
             "put the .asf file into the same folder");
      path = there.front();
    }
    const std::scoped_lock lock(mutex_);
    const auto found = skeletons_.find(path.string());
    if (found != skeletons_.end()) return found->second;
    return skeletons_.emplace(path.string(), io::AsfSkeleton(io::read_file(path.string()), path.string()))
        .first->second;
  }

  std::shared_ptr<Dataset> files_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, io::AsfSkeleton> skeletons_;  // nodes stay where they are
};

const FolderKind kMotions{"motion", "motion", "motion file", "bvh, amc", [](std::string extension) {
                            return is_motion_extension(extension) && !extension.ends_with("npz");
                          }};

std::vector<std::string> names_of(const std::map<std::string, fs::path>& splits) {
  std::vector<std::string> out;
  for (const auto& [name, path] : splits) out.push_back(name);
  return out;
}

std::shared_ptr<Dataset> open_motion(Uri& uri) {
  if (uri.path.ends_with(".npz")) {
    uri.take("split", "");  // a file is one split
    return open_npz(uri.path, canonical_uri("motion", uri.path, ""));
  }
  const auto splits = files_by_split(uri.path, ".npz");
  if (splits.empty()) return std::make_shared<MotionFiles>(open_folder(uri, kMotions));
  const std::string split = uri.take_split(names_of(splits));
  return open_npz(splits.at(split), canonical_uri("motion", uri.path, split));
}

const Register<DatasetScheme> registered{
    "motion",
    {"motion:DIR|FILE.npz", "recordings of bodies: BVH, AMC with its ASF, NPZ of positions or rotations",
     open_motion, [](const Uri& uri) {
       if (uri.path.ends_with(".npz")) return std::vector<std::string>{};
       const auto splits = files_by_split(uri.path, ".npz");
       return splits.empty() ? folder_splits(uri) : names_of(splits);
     }}};

}  // namespace
}  // namespace lacuna::data
