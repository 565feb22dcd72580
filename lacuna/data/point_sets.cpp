// points:DIR, points:FILE: clouds of points, one a file, or many in an .npz.

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <map>

#include "lacuna/core/error.h"
#include "lacuna/data/folder.h"
#include "lacuna/data/labelled_sweeps.h"
#include "lacuna/data/matrix3x4.h"
#include "lacuna/data/points.h"
#include "lacuna/io/motion.h"
#include "lacuna/io/point_files.h"

namespace lacuna::data {

namespace fs = io::fs;

namespace {

/// "points" [N, P, F] of an .npz, "labels" [N] where there are any, class names from classes.txt beside it.
class PointArrays final : public Dataset {
 public:
  PointArrays(const fs::path& path, std::string uri) : path_(path.string()), uri_(std::move(uri)) {
    const io::MappedFile file(path);
    io::MotionLimits limits;
    limits.max_values = int64_t{1} << 30;
    auto arrays = io::read_npz(file.bytes(), path_, limits);
    if (arrays.count("points") == 0) fail(path_, "holds no array 'points'", "store points [N, P, 3 or more]");
    points_ = arrays.at("points").to(at::kFloat).contiguous();
    if (points_.dim() != 3 || points_.size(0) < 1 || points_.size(2) < 3 || points_.size(2) > 64)
      fail(path_, str("'points' has shape ", points_.sizes()), "store [clouds, points, 3 to 64 numbers]");
    if (arrays.count("labels") == 0) return;
    labels_ = arrays.at("labels").to(at::kLong).contiguous();
    if (labels_.sizes() != at::IntArrayRef{points_.size(0)} || labels_.lt(0).any().item<bool>() ||
        labels_.gt(1 << 20).any().item<bool>())
      fail(path_, str("'labels' has shape ", labels_.sizes(), " or holds what is no class"),
           "store a class from 0 on for each cloud");
    classes_ = class_names(path.parent_path(), labels_.max().item<int64_t>() + 1);
  }
  int64_t size() const override { return points_.size(0); }
  Record get(int64_t index) const override {
    const auto cloud = points_[index];
    io::Points out{.fields = io::unnamed_fields(cloud.size(1))};
    out.values.assign(cloud.const_data_ptr<float>(), cloud.const_data_ptr<float>() + cloud.numel());
    return {str(path_, "#", index), label(index), std::move(out)};
  }
  int64_t label(int64_t index) const override {
    return labels_.defined() ? labels_.const_data_ptr<int64_t>()[index] : kNoLabel;
  }
  std::vector<std::string> classes() const override { return classes_; }
  std::string uri() const override { return uri_; }
  std::string modality() const override { return "points"; }

 private:
  std::string path_, uri_;
  at::Tensor points_, labels_;
  std::vector<std::string> classes_;
};

/// One file.
class PointFile final : public Dataset {
 public:
  explicit PointFile(std::string path) : path_(std::move(path)) { io::MappedFile{path_}; }
  int64_t size() const override { return 1; }
  Record get(int64_t /*index*/) const override { return {path_, kNoLabel, io::MappedFile(path_)}; }
  int64_t label(int64_t /*index*/) const override { return kNoLabel; }
  std::vector<std::string> classes() const override { return {}; }
  std::string uri() const override { return canonical_uri("points", path_, ""); }
  std::string modality() const override { return "points"; }

 private:
  std::string path_;
};

/// Files of rows of `fields` numbers, whatever their ending says.
class Decoded final : public Dataset {
 public:
  Decoded(std::shared_ptr<Dataset> files, int64_t fields) : files_(std::move(files)), fields_(fields) {}
  int64_t size() const override { return files_->size(); }
  Record get(int64_t index) const override {
    Record record = files_->get(index);
    if (record.key.ends_with(".bin"))
      record.content = io::read_point_rows(encoded_bytes(record), record.key, io::unnamed_fields(fields_));
    return record;
  }
  int64_t label(int64_t index) const override { return files_->label(index); }
  std::vector<std::string> classes() const override { return files_->classes(); }
  std::string uri() const override {
    const auto uri = files_->uri();
    return str(uri, uri.find('?') == std::string::npos ? '?' : '&', "fields=", fields_);
  }
  std::string modality() const override { return "points"; }

 private:
  std::shared_ptr<Dataset> files_;
  int64_t fields_;
};

std::vector<double> numbers_of(const fs::path& path) {
  std::ifstream file(path);
  if (!file) fail(path.string(), "can't be read", "sweeps are put together by the poses in this file");
  std::vector<double> out;
  for (double value = 0; file >> value;) out.push_back(value);
  if (!file.eof())
    fail(path.string(), str("holds no number behind the ", out.size(), "th"), "repair the file");
  return out;
}

/// Poses and times of the files of one folder.
struct Track {
  std::vector<Matrix3x4> poses;
  std::vector<double> times;
};

Track read_track(const fs::path& folder, int64_t files) {
  Track out;
  const auto poses = numbers_of(folder / "poses.txt");
  if (std::ssize(poses) != 12 * files)
    fail((folder / "poses.txt").string(), str("holds ", poses.size(), " numbers for ", files, " files"),
         "give 12 numbers a file");
  for (int64_t i = 0; i < files; ++i) {
    Matrix3x4 pose{};
    std::copy_n(poses.begin() + 12 * i, 12, pose.begin());
    out.poses.push_back(pose);
  }
  std::error_code error;
  if (fs::exists(folder / "times.txt", error)) out.times = numbers_of(folder / "times.txt");
  if (!out.times.empty() && std::ssize(out.times) != files)
    fail((folder / "times.txt").string(), str("holds ", out.times.size(), " numbers for ", files, " files"),
         "give one a file");
  for (int64_t i = 0; out.times.size() < out.poses.size(); ++i) out.times.push_back(static_cast<double>(i));
  return out;
}

class Sweeps final : public Dataset {
 public:
  Sweeps(std::shared_ptr<Dataset> single, int64_t sweeps) : single_(std::move(single)), sweeps_(sweeps) {
    std::map<std::string, int64_t> files;
    for (int64_t i = 0; i < single_->size(); ++i) {
      folder_.push_back(fs::path(single_->get(i).key).parent_path().string());
      rank_.push_back(files[folder_.back()]++);
    }
    for (const auto& [folder, count] : files) tracks_.emplace(folder, read_track(folder, count));
  }
  int64_t size() const override { return single_->size(); }
  Record get(int64_t index) const override {
    Record newest = single_->get(index);
    const auto at = static_cast<size_t>(index);
    const auto& track = tracks_.at(folder_[at]);
    io::Points all;
    for (int64_t back = 0; back < sweeps_ && back <= rank_[at]; ++back)
      add(track, rank_[at], back, back == 0 ? newest : single_->get(index - back), all);
    newest.content = std::move(all);
    return newest;
  }
  int64_t label(int64_t index) const override { return single_->label(index); }
  std::vector<std::string> classes() const override { return single_->classes(); }
  std::string uri() const override {
    const auto uri = single_->uri();
    return str(uri, uri.find('?') == std::string::npos ? '?' : '&', "sweeps=", sweeps_);
  }
  std::string modality() const override { return "points"; }

 private:
  static void add(const Track& track, int64_t newest, int64_t back, const Record& record, io::Points& all) {
    const auto cloud = decode_points(record);
    const auto now = static_cast<size_t>(newest), then = static_cast<size_t>(newest - back);
    const Matrix3x4 move = chained(inverse(track.poses[now]), track.poses[then]);
    auto fields = cloud.fields;
    fields.emplace_back("time");
    if (std::count(fields.begin(), fields.end(), "time") > 1)
      fail(record.key, "its points have a time already", "open it without sweeps");
    if (back == 0) all.fields = fields;
    if (all.fields != fields)
      fail(record.key, str("its points hold ", join(cloud.fields), ", those before it other things"),
           "keep sweeps of one kind in a folder");
    const size_t F = cloud.fields.size();
    for (size_t i = 0; i < cloud.values.size(); i += F) {
      const float* p = &cloud.values[i];
      for (const double value : applied(move, p)) all.values.push_back(static_cast<float>(value));
      all.values.insert(all.values.end(), p + 3, p + F);
      all.values.push_back(static_cast<float>(track.times[now] - track.times[then]));
    }
    all.labels.insert(all.labels.end(), cloud.labels.begin(), cloud.labels.end());
  }

  std::shared_ptr<Dataset> single_;
  int64_t sweeps_;
  std::vector<std::string> folder_;
  std::vector<int64_t> rank_;  // of each record in its folder
  std::map<std::string, Track> tracks_;
};

const FolderKind kClouds{
    "points",
    "points",
    "clouds",
    "bin, pcd.bin, ply, npy, off",
    [](std::string extension) { return is_points_extension(extension) && !extension.ends_with("npz"); },
    /*mapped=*/true};

int64_t take_number(Uri& uri, const std::string& key, int64_t low, int64_t high) {
  const std::string text = uri.take(key, "");
  if (text.empty()) return 0;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < low || value > high)
    fail("data URI '" + uri.text + "'", str(key, " '", text, "' is no number from ", low, " to ", high),
         "change or leave it out");
  return value;
}

std::shared_ptr<Dataset> open_files(Uri& uri) {
  std::error_code error;
  const bool folder = fs::is_directory(uri.path, error);
  if (!folder) uri.take("split", "");
  auto out = folder ? open_folder(uri, kClouds) : std::make_shared<PointFile>(uri.path);
  if (const auto fields = take_number(uri, "fields", 3, 64)) out = std::make_shared<Decoded>(out, fields);
  if (const auto sweeps = take_number(uri, "sweeps", 1, 1000)) out = aggregated_sweeps(out, sweeps);
  return out;
}

std::shared_ptr<Dataset> open_points(Uri& uri) {
  if (auto listed = open_listed_sweeps(uri)) return listed;
  if (auto kitti = open_kitti(uri)) return kitti;
  if (uri.path.ends_with(".npz")) {
    uri.take("split", "");  // a file is one split
    return std::make_shared<PointArrays>(uri.path, canonical_uri("points", uri.path, ""));
  }
  const auto splits = files_by_split(uri.path, ".npz");
  if (splits.empty()) return open_files(uri);
  std::vector<std::string> names;
  for (const auto& [name, path] : splits) names.push_back(name);
  const std::string split = uri.take_split(names);
  return std::make_shared<PointArrays>(splits.at(split), canonical_uri("points", uri.path, split));
}

const Register<DatasetScheme> registered{
    "points",
    {"points:DIR|FILE?fields=4&sweeps=1",
     "clouds of points: KITTI .bin, nuScenes .pcd.bin, PLY, NPY, OFF, NPZ of many; sweeps put together by "
     "poses.txt; points labelled by KITTI's boxes (label_2) and nuScenes' (sample.json)",
     open_points, [](const Uri& uri) {
       std::vector<std::string> out = kitti_splits(uri);
       if (!out.empty()) return out;
       for (const auto& [name, path] : files_by_split(uri.path, ".npz")) out.push_back(name);
       std::error_code error;
       return out.empty() && fs::is_directory(uri.path, error) ? folder_splits(uri) : out;
     }}};

}  // namespace

io::Points decode_points(const Record& record) {
  if (const auto* points = std::get_if<io::Points>(&record.content)) return *points;
  return io::read_points(encoded_bytes(record), record.key);
}

std::shared_ptr<Dataset> aggregated_sweeps(std::shared_ptr<Dataset> single, int64_t sweeps) {
  return std::make_shared<Sweeps>(std::move(single), sweeps);
}

}  // namespace lacuna::data
