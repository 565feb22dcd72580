// imagefolder:DIR: pictures in class folders (torchvision.datasets.ImageFolder's order and labels), or
// without classes.

#include <algorithm>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/data/dataset.h"

namespace lacuna::data {

namespace fs = io::fs;

namespace {

/// Sub-folders that are not hidden, by name.
std::vector<fs::path> folders_in(const fs::path& folder) {
  std::vector<fs::path> out;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error))
    if (entry.is_directory(error) && !entry.path().filename().string().starts_with("."))
      out.push_back(entry.path());
  if (error) fail(folder.string(), error.message(), "name a folder that can be read");
  std::sort(out.begin(), out.end());
  return out;
}

bool is_picture(const fs::path& path) {
  return is_picture_extension(path.extension().string()) && !path.filename().string().starts_with(".");
}

bool has_loose_pictures(const fs::path& folder) {
  std::error_code error;
  const fs::directory_iterator entries(folder, error);
  return std::any_of(begin(entries), end(entries),
                     [](const auto& entry) { return is_picture(entry.path()); });
}

/// All pictures at any depth, folder by folder, each sorted by name.
std::vector<fs::path> pictures_under(const fs::path& folder) {
  std::vector<fs::path> out;
  std::error_code error;
  const auto follow = fs::directory_options::follow_directory_symlink;
  for (fs::recursive_directory_iterator entry(folder, follow, error), last; !error && entry != last;
       entry.increment(error))
    if (is_picture(entry->path()) && entry->is_regular_file(error)) out.push_back(entry->path());
  if (error)
    fail(folder.string(), "can't be listed: " + error.message(), "make every folder below it readable");
  std::sort(out.begin(), out.end(), [](const fs::path& a, const fs::path& b) {
    const auto folder_a = a.parent_path().native(), folder_b = b.parent_path().native();
    return folder_a != folder_b ? folder_a < folder_b : a.filename().native() < b.filename().native();
  });
  return out;
}

/// Split name -> folder. A folder is divided when it holds "train", or split folders and no other.
std::map<std::string, fs::path> split_folders(const fs::path& folder) {
  std::map<std::string, fs::path> out;
  bool all = true, train = false;
  for (const auto& path : folders_in(folder)) {
    const std::string name = path.filename().string(), split = split_of_name(name);
    // Whole names only: "test_strip" is a class, "Test" a split.
    const bool is_split = !split.empty() && std::all_of(name.begin(), name.end(), ::isalpha);
    if (is_split) out.emplace(split, path);
    all = all && is_split;
    train = train || (is_split && split == "train");
  }
  if (!all && !train) out.clear();
  return out;
}

std::vector<std::string> names_of(const std::map<std::string, fs::path>& splits) {
  std::vector<std::string> out;
  for (const auto& [name, path] : splits) out.push_back(name);
  return out;
}

class ImageFolder final : public Dataset {
 public:
  ImageFolder(const fs::path& folder, std::string uri) : uri_(std::move(uri)) {
    const auto class_folders = folders_in(folder);
    if (class_folders.empty()) add(pictures_under(folder), kNoLabel);
    for (const auto& class_folder : class_folders) {
      const auto pictures = pictures_under(class_folder);
      if (pictures.empty())
        fail(class_folder.string(), "holds no picture (jpg, png, tif, npy)", "remove the folder or fill it");
      add(pictures, static_cast<int64_t>(classes_.size()));
      classes_.push_back(class_folder.filename().string());
    }
    if (paths_.empty())
      fail(folder.string(), "holds no picture (jpg, png, tif, npy)",
           "name a folder of pictures or of class folders");
    if (!classes_.empty() && has_loose_pictures(folder))
      log::warn(str(folder.string(), ": pictures beside the class folders are left out"));
  }

  int64_t size() const override { return static_cast<int64_t>(paths_.size()); }
  Record get(int64_t index) const override {
    const std::string path = paths_[static_cast<size_t>(index)].string();
    return {path, label(index), io::read_file(path)};
  }
  int64_t label(int64_t index) const override { return labels_[static_cast<size_t>(index)]; }
  std::vector<std::string> classes() const override { return classes_; }
  std::string uri() const override { return uri_; }

 private:
  void add(const std::vector<fs::path>& paths, int64_t label) {
    paths_.insert(paths_.end(), paths.begin(), paths.end());
    labels_.resize(paths_.size(), label);
  }

  std::string uri_;
  std::vector<fs::path> paths_;
  std::vector<int64_t> labels_;
  std::vector<std::string> classes_;
};

std::shared_ptr<Dataset> open_imagefolder(Uri& uri) {
  const auto splits = split_folders(uri.path);
  const std::string split = uri.take_split(names_of(splits));
  return std::make_shared<ImageFolder>(split.empty() ? fs::path(uri.path) : splits.at(split),
                                       canonical_uri("imagefolder", uri.path, split));
}

const Register<DatasetScheme> registered{
    "imagefolder",
    {"imagefolder:DIR", "a folder of pictures, in class folders or not; train/, val/, test/ are splits",
     open_imagefolder, [](const Uri& uri) { return names_of(split_folders(uri.path)); }}};

}  // namespace

}  // namespace lacuna::data
