// idx:DIR: MNIST's file format (yann.lecun.com/exdb/mnist, "the IDX file format"), gzip-compressed or not.

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>

#include "lacuna/core/error.h"
#include "lacuna/data/dataset.h"

namespace lacuna::data {

namespace fs = io::fs;

namespace {

/// The bytes of a file, inflated where it is compressed.
class Content {
 public:
  explicit Content(const fs::path& path) : file_(path) {
    if (io::is_gzip(file_.bytes())) inflated_ = io::gunzip(file_.bytes(), path.string());
  }
  const uint8_t* data() const {
    return inflated_.empty() ? reinterpret_cast<const uint8_t*>(file_.bytes().data())
                             : reinterpret_cast<const uint8_t*>(inflated_.data());
  }
  int64_t size() const {
    return static_cast<int64_t>(inflated_.empty() ? file_.bytes().size() : inflated_.size());
  }
  std::string name() const { return file_.path().string(); }

 private:
  io::MappedFile file_;
  std::string inflated_;
};

/// An array of unsigned bytes whose header has been checked against the file's length.
struct IdxArray {
  IdxArray(const fs::path& path, size_t dimensions) : content(path) {
    const auto header = static_cast<int64_t>(4 + 4 * dimensions);
    const uint8_t* bytes = content.data();
    if (content.size() < header) fail(content.name(), "ends within its header", "download the file again");
    if (bytes[0] != 0 || bytes[1] != 0 || bytes[2] != 8 || bytes[3] != dimensions)
      fail(content.name(), str("is no IDX file of bytes with ", dimensions, " dimensions"),
           "name MNIST-style files (images idx3-ubyte, labels idx1-ubyte)");
    int64_t expected = 1;
    for (size_t d = 0; d < dimensions; ++d) {
      const uint8_t* field = bytes + 4 + 4 * d;
      shape.push_back(int64_t{field[0]} << 24 | int64_t{field[1]} << 16 | int64_t{field[2]} << 8 | field[3]);
      // A product beyond the file's length is wrong already; stopping there keeps it from overflowing.
      if (shape.back() == 0 || expected > content.size() / shape.back()) expected = -1;
      if (expected > 0) expected *= shape.back();
      if (expected < 0) break;
    }
    if (expected != content.size() - header)
      fail(content.name(), str("its header does not fit its ", content.size() - header, " bytes of data"),
           "download the file again");
    data = bytes + header;
  }
  Content content;
  std::vector<int64_t> shape;
  const uint8_t* data = nullptr;
};

/// DIR/<prefix>-<kind>-idxN-ubyte[.gz], also with a dot before idxN; empty when it is not there.
fs::path find_file(const fs::path& folder, const std::string& prefix, const std::string& kind) {
  std::error_code error;
  for (const char* dot : {"-", "."})
    for (const char* end : {"", ".gz"}) {
      const fs::path path =
          folder / str(prefix, "-", kind, dot, kind == "images" ? "idx3" : "idx1", "-ubyte", end);
      if (fs::exists(path, error)) return path;
    }
  return {};
}

const std::map<std::string, std::string> kPrefixes{{"train", "train"}, {"test", "t10k"}};

std::vector<std::string> splits_in(const fs::path& folder) {
  std::vector<std::string> out;
  for (const auto& [split, prefix] : kPrefixes)
    if (!find_file(folder, prefix, "images").empty()) out.push_back(split);
  if (out.empty())
    fail(folder.string(), "holds no train-images-idx3-ubyte or t10k-images-idx3-ubyte (.gz or not)",
         "name the folder of the IDX files");
  return out;
}

class IdxDataset final : public Dataset {
 public:
  IdxDataset(const fs::path& folder, const std::string& prefix, std::string uri)
      : uri_(std::move(uri)), images_(find_file(folder, prefix, "images"), 3) {
    const fs::path label_path = find_file(folder, prefix, "labels");
    if (label_path.empty()) return;
    labels_.emplace(label_path, 1);
    if (labels_->shape[0] != size())
      fail(label_path.string(), str("holds ", labels_->shape[0], " labels for ", size(), " images"),
           "download both files again");
    classes_ = class_names(folder, *std::max_element(labels_->data, labels_->data + size()) + 1);
  }

  int64_t size() const override { return images_.shape[0]; }

  Record get(int64_t index) const override {
    auto pixels = at::empty({images_.shape[1], images_.shape[2], 1}, at::kByte);
    std::memcpy(pixels.mutable_data_ptr(), images_.data + index * pixels.numel(),
                static_cast<size_t>(pixels.numel()));
    return {str(images_.content.name(), "#", index), label(index), io::Image{pixels, 255}};
  }

  int64_t label(int64_t index) const override { return labels_ ? labels_->data[index] : kNoLabel; }
  std::vector<std::string> classes() const override { return classes_; }
  std::string uri() const override { return uri_; }

 private:
  std::string uri_;
  IdxArray images_;
  std::optional<IdxArray> labels_;
  std::vector<std::string> classes_;
};

/// A file's path stands for its folder; the file's own prefix then names the split.
fs::path folder_of(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error) ? path : fs::absolute(path).parent_path();
}

std::shared_ptr<Dataset> open_idx(Uri& uri) {
  const fs::path folder = folder_of(uri.path);
  if (folder != fs::path(uri.path) && fs::path(uri.path).filename().string().starts_with("t10k"))
    uri.default_split = "test";
  const std::string split = uri.take_split(splits_in(folder));
  return std::make_shared<IdxDataset>(folder, kPrefixes.at(split), canonical_uri("idx", folder, split));
}

const Register<DatasetScheme> registered{
    "idx", {"idx:DIR", "MNIST-style IDX files, .gz or not: train-*, t10k-*", open_idx, [](const Uri& uri) {
              return splits_in(folder_of(uri.path));
            }}};

}  // namespace

}  // namespace lacuna::data
