#include "lacuna/data/folder.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/data/transcripts.h"

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

bool is_member(const FolderKind& kind, const fs::path& path) {
  return kind.is_member(path.extension().string()) && !path.filename().string().starts_with(".");
}

bool has_loose_members(const FolderKind& kind, const fs::path& folder) {
  std::error_code error;
  const fs::directory_iterator entries(folder, error);
  return std::any_of(begin(entries), end(entries),
                     [&](const auto& entry) { return is_member(kind, entry.path()); });
}

/// All members at any depth, folder by folder, each sorted by name.
std::vector<fs::path> members_under(const FolderKind& kind, const fs::path& folder) {
  std::vector<fs::path> out;
  std::error_code error;
  const auto follow = fs::directory_options::follow_directory_symlink;
  for (fs::recursive_directory_iterator entry(folder, follow, error), last; !error && entry != last;
       entry.increment(error))
    if (is_member(kind, entry->path()) && entry->is_regular_file(error)) out.push_back(entry->path());
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

class Folder final : public Dataset {
 public:
  Folder(const fs::path& folder, const FolderKind& kind, std::string uri, int64_t label_field)
      : uri_(std::move(uri)), modality_(kind.modality), mapped_(kind.mapped) {
    const auto class_folders = folders_in(folder);
    if (class_folders.empty()) add(members_under(kind, folder), kNoLabel);
    for (const auto& class_folder : class_folders) {
      const auto members = members_under(kind, class_folder);
      if (members.empty())
        fail(class_folder.string(), str("holds no ", kind.items, " (", kind.endings, ")"),
             "remove the folder or fill it");
      add(members, static_cast<int64_t>(classes_.size()));
      classes_.push_back(class_folder.filename().string());
    }
    if (paths_.empty())
      fail(folder.string(), str("holds no ", kind.items, " (", kind.endings, ")"),
           str("name a folder of ", kind.items, " or of class folders"));
    if (!classes_.empty() && has_loose_members(kind, folder))
      log::warn(str(folder.string(), ": ", kind.items, " beside the class folders are left out"));
    if (label_field >= 0) label_by_name(label_field);
  }

  int64_t size() const override { return static_cast<int64_t>(paths_.size()); }
  Record get(int64_t index) const override {
    const std::string path = paths_[static_cast<size_t>(index)].string();
    if (mapped_) return {path, label(index), io::MappedFile(path)};
    return {path, label(index), io::read_file(path)};
  }
  int64_t label(int64_t index) const override { return labels_[static_cast<size_t>(index)]; }
  std::vector<std::string> classes() const override { return classes_; }
  std::string transcript(int64_t index) const override {
    return transcript_beside(paths_[static_cast<size_t>(index)]);
  }
  std::string uri() const override { return uri_; }
  std::string modality() const override { return modality_; }

 private:
  void add(const std::vector<fs::path>& paths, int64_t label) {
    paths_.insert(paths_.end(), paths.begin(), paths.end());
    labels_.resize(paths_.size(), label);
  }

  void label_by_name(int64_t field) {
    std::vector<std::string> names;
    for (const auto& path : paths_) names.push_back(path.filename().string());
    auto found = labels_of_names(names, field);
    labels_ = std::move(found.labels);
    classes_ = std::move(found.classes);
  }

  std::string uri_, modality_;
  bool mapped_;
  std::vector<fs::path> paths_;
  std::vector<int64_t> labels_;
  std::vector<std::string> classes_;
};

const FolderKind kPictures{"imagefolder", "image", "picture", "jpg, png, tif, npy", is_picture_extension};

const Register<DatasetScheme> registered{
    "imagefolder",
    {"imagefolder:DIR", "a folder of pictures, in class folders or not; train/, val/, test/ are splits",
     [](Uri& uri) { return open_folder(uri, kPictures); }, folder_splits}};

}  // namespace

std::shared_ptr<Dataset> open_folder(Uri& uri, const FolderKind& kind, int64_t label_field) {
  const auto splits = split_folders(uri.path);
  const std::string split = uri.take_split(names_of(splits));
  std::string opened = canonical_uri(kind.scheme, uri.path, split);
  if (label_field >= 0) opened += str(split.empty() ? '?' : '&', "label_field=", label_field);
  return std::make_shared<Folder>(split.empty() ? fs::path(uri.path) : splits.at(split), kind, opened,
                                  label_field);
}

std::map<std::string, fs::path> files_by_split(const fs::path& folder, const std::string& extension) {
  std::map<std::string, fs::path> out;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error))
    if (entry.path().extension() == extension)
      if (const auto split = split_of_name(entry.path().stem().string()); !split.empty())
        out.emplace(split, entry.path());
  return out;
}

std::vector<std::string> folder_splits(const Uri& uri) { return names_of(split_folders(uri.path)); }

LabelsOfNames labels_of_names(const std::vector<std::string>& names, int64_t field) {
  std::vector<std::string> words;
  for (const auto& name : names) {
    const std::string stem = name.substr(0, name.find('.'));
    size_t begin = 0;
    for (int64_t skipped = 0; skipped < field && begin != std::string::npos; ++skipped) {
      begin = stem.find_first_of("_-", begin);
      if (begin != std::string::npos) ++begin;
    }
    if (begin == std::string::npos)
      fail(name, str("its name has no field ", field, " (split at _ and -, counted from 0)"),
           "rename it, or choose another label_field");
    words.push_back(stem.substr(begin, stem.find_first_of("_-", begin) - begin));
  }
  const std::set<std::string> sorted(words.begin(), words.end());
  LabelsOfNames out{{}, {sorted.begin(), sorted.end()}};
  for (const auto& word : words) out.labels.push_back(std::distance(sorted.begin(), sorted.find(word)));
  return out;
}

int64_t take_label_field(Uri& uri) {
  const std::string text = uri.take("label_field", "");
  if (text.empty()) return -1;
  int64_t field = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), field);
  if (error != std::errc() || end != text.data() + text.size() || field < 0)
    fail("data URI '" + uri.text + "'", "label_field '" + text + "' is not a number", "write 0, 1, 2, ...");
  return field;
}

}  // namespace lacuna::data
