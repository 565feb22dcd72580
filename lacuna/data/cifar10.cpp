// cifar10:DIR: the binary version of CIFAR-10 (Krizhevsky, "Learning Multiple Layers of Features from Tiny
// Images", 2009).

#include <ATen/ATen.h>

#include <algorithm>
#include <fstream>

#include "lacuna/core/error.h"
#include "lacuna/data/dataset.h"

namespace lacuna::data {

namespace fs = io::fs;

namespace {

constexpr int64_t kSide = 32, kPlane = kSide * kSide, kRecord = 1 + 3 * kPlane, kClasses = 10;

/// Split name -> its files in order.
std::map<std::string, std::vector<fs::path>> batch_files(const fs::path& folder) {
  std::map<std::string, std::vector<fs::path>> out;
  std::error_code error;
  for (int batch = 1; batch <= 5; ++batch) {
    const fs::path path = folder / str("data_batch_", batch, ".bin");
    if (fs::exists(path, error)) out["train"].push_back(path);
  }
  if (fs::exists(folder / "test_batch.bin", error)) out["test"].push_back(folder / "test_batch.bin");
  if (out.empty())
    fail(folder.string(), "holds no data_batch_1.bin .. data_batch_5.bin or test_batch.bin",
         "name the folder of CIFAR-10's binary version");
  return out;
}

std::vector<std::string> names_of(const std::map<std::string, std::vector<fs::path>>& splits) {
  std::vector<std::string> out;
  for (const auto& [name, files] : splits) out.push_back(name);
  return out;
}

std::vector<std::string> read_classes(const fs::path& folder) {
  std::vector<std::string> out;
  std::ifstream file(folder / "batches.meta.txt");
  for (std::string line; std::getline(file, line);)
    if (!line.empty()) out.push_back(line);
  for (int64_t label = 0; out.empty() && label < kClasses; ++label) out.push_back(std::to_string(label));
  while (static_cast<int64_t>(out.size()) < kClasses) out.push_back(std::to_string(out.size()));
  return out;
}

class Cifar10 final : public Dataset {
 public:
  Cifar10(const fs::path& folder, const std::vector<fs::path>& files, std::string uri)
      : uri_(std::move(uri)), classes_(read_classes(folder)) {
    for (const auto& path : files) {
      const io::MappedFile file(path);
      const auto bytes = static_cast<int64_t>(file.bytes().size());
      if (bytes == 0 || bytes % kRecord != 0)
        fail(path.string(), str("has ", bytes, " bytes, no multiple of ", kRecord),
             "download the file again");
      files_.push_back(file);
      for (int64_t i = 0; i < bytes / kRecord; ++i) {
        entries_.push_back({files_.size() - 1, i});
        if (label(size() - 1) >= kClasses)
          fail(str(path.string(), "#", i), str("has label ", label(size() - 1), ", expected 0 to 9"),
               "download the binary version of CIFAR-10 (not CIFAR-100) again");
      }
    }
  }

  int64_t size() const override { return static_cast<int64_t>(entries_.size()); }

  Record get(int64_t index) const override {
    auto pixels = at::empty({kSide, kSide, 3}, at::kByte);
    auto* out = pixels.mutable_data_ptr<uint8_t>();
    const uint8_t* planes = record(index) + 1;
    for (int64_t i = 0; i < kPlane; ++i)
      for (int64_t c = 0; c < 3; ++c) *out++ = planes[c * kPlane + i];
    const Entry& entry = entries_[static_cast<size_t>(index)];
    return {str(files_[entry.file].path().string(), "#", entry.place), label(index), io::Image{pixels, 255}};
  }

  int64_t label(int64_t index) const override { return record(index)[0]; }
  std::vector<std::string> classes() const override { return classes_; }
  std::string uri() const override { return uri_; }

 private:
  struct Entry {
    size_t file;
    int64_t place;
  };
  const uint8_t* record(int64_t index) const {
    const Entry& entry = entries_[static_cast<size_t>(index)];
    return reinterpret_cast<const uint8_t*>(files_[entry.file].bytes().data()) + entry.place * kRecord;
  }

  std::string uri_;
  std::vector<std::string> classes_;
  std::vector<io::MappedFile> files_;
  std::vector<Entry> entries_;
};

std::shared_ptr<Dataset> open_cifar10(Uri& uri) {
  const auto files = batch_files(uri.path);
  const std::string split = uri.take_split(names_of(files));
  return std::make_shared<Cifar10>(uri.path, files.at(split), canonical_uri("cifar10", uri.path, split));
}

const Register<DatasetScheme> registered{
    "cifar10",
    {"cifar10:DIR", "CIFAR-10's binary version: data_batch_{1..5}.bin, test_batch.bin", open_cifar10,
     [](const Uri& uri) { return names_of(batch_files(uri.path)); }}};

}  // namespace

}  // namespace lacuna::data
