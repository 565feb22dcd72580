// Reading. Nothing of a file is believed before it is checked.

#include "lacuna/data/packed.h"

#include <ATen/ATen.h>

#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "lacuna/core/error.h"
#include "lacuna/io/crc32c.h"

namespace lacuna::data {

namespace fs = io::fs;

namespace {

static_assert(std::endian::native == std::endian::little);

[[noreturn]] void broken(const fs::path& path, const std::string& why) {
  fail(path.string(), why, "pack the data again (`lacuna data pack`)");
}

struct Split {
  std::string name, uri;
  int64_t first = 0, count = 0;
  std::vector<std::string> classes;
};

Split split_of(const nlohmann::json& json) {
  return {json.at("name").get<std::string>(), json.at("uri").get<std::string>(),
          json.at("first").get<int64_t>(), json.at("count").get<int64_t>(),
          json.at("classes").get<std::vector<std::string>>()};
}

/// A file whose parts were checked; its pictures are checked one by one.
class PackedFile {
 public:
  explicit PackedFile(const fs::path& path) : file_(path) {
    const io::Bytes all = file_.bytes();
    if (all.size() < sizeof(PackedHead) || std::memcmp(all.data(), kPackedMagic, sizeof(kPackedMagic)) != 0)
      broken(path, "is no packed data set");
    PackedHead head{};
    std::memcpy(&head, all.data(), sizeof(head));
    if (head.version != kPackedVersion)
      broken(path, str("has version ", head.version, " of the format, this program reads ", kPackedVersion));
    if (head.zero != 0) broken(path, "has a broken header");
    if (all.size() < sizeof(head) + sizeof(tail_)) broken(path, "is cut short");
    std::memcpy(&tail_, all.data() + all.size() - sizeof(tail_), sizeof(tail_));
    check_tail();
    read_splits();
    for (int64_t i = 0; i < size(); ++i) check_entry(i);
    checked_ = std::make_unique<std::atomic<bool>[]>(static_cast<size_t>(size()));
  }

  int64_t size() const { return static_cast<int64_t>(tail_.count); }
  const std::vector<Split>& splits() const { return splits_; }
  const fs::path& path() const { return file_.path(); }

  PackedEntry entry(int64_t index) const {
    PackedEntry out{};
    std::memcpy(&out, file_.bytes().data() + tail_.entries_at + static_cast<uint64_t>(index) * sizeof(out),
                sizeof(out));
    return out;
  }

  std::string key(const PackedEntry& entry) const {
    const io::Bytes bytes = file_.bytes().subspan(tail_.keys_at + entry.key_at, entry.key_bytes);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  /// A view of the mapped file, which lives as long as the tensor.
  io::Image image(int64_t index, const PackedEntry& entry) const {
    const io::Bytes pixels = file_.bytes().subspan(entry.at, bytes_of(entry));
    auto& checked = checked_[static_cast<size_t>(index)];
    if (!checked.load(std::memory_order_relaxed)) {
      if (io::crc32c(pixels) != entry.crc)
        fail(key(entry), str("its pixels in ", path().string(), " are damaged"),
             "pack the data again (`lacuna data pack`)");
      checked.store(true, std::memory_order_relaxed);
    }
    // Nobody writes to a record's pixels: the mapping is read-only.
    auto view = at::from_blob(
        const_cast<std::byte*>(pixels.data()), {entry.height, entry.width, entry.channels},
        [file = file_](void*) {}, entry.kind == kPackedBytes ? at::kByte : at::kFloat);
    return {std::move(view), entry.peak};
  }

 private:
  static uint64_t bytes_of(const PackedEntry& entry) {
    return uint64_t{entry.height} * entry.width * entry.channels * (entry.kind == kPackedBytes ? 1 : 4);
  }

  io::Bytes part(uint64_t from, uint64_t to) const { return file_.bytes().subspan(from, to - from); }

  void check_tail() const {
    const uint64_t size = file_.bytes().size(), end = size - sizeof(tail_);
    const io::Bytes own = part(end, size);
    if (std::memcmp(tail_.magic, kPackedMagic, sizeof(kPackedMagic)) != 0) broken(path(), "is cut short");
    if (io::crc32c(own.first(offsetof(PackedTail, crc))) != tail_.crc || tail_.version != kPackedVersion ||
        tail_.zero != 0)
      broken(path(), "has a broken end");
    if (tail_.file_bytes != size)
      broken(path(), str("has ", size, " bytes, ", tail_.file_bytes, " were written"));
    const bool in_order = sizeof(PackedHead) <= tail_.keys_at && tail_.keys_at <= tail_.document_at &&
                          tail_.document_at <= tail_.entries_at && tail_.entries_at <= end;
    if (!in_order || tail_.count > end / sizeof(PackedEntry) ||
        tail_.entries_at + tail_.count * sizeof(PackedEntry) != end || tail_.count == 0)
      broken(path(), "its parts do not fit together");
    if (io::crc32c(part(tail_.keys_at, tail_.document_at)) != tail_.keys_crc ||
        io::crc32c(part(tail_.document_at, tail_.entries_at)) != tail_.document_crc ||
        io::crc32c(part(tail_.entries_at, end)) != tail_.entries_crc)
      broken(path(), "its index is damaged");
  }

  void read_splits() {
    const io::Bytes text = part(tail_.document_at, tail_.entries_at);
    const auto* begin = reinterpret_cast<const char*>(text.data());
    const auto document = nlohmann::json::parse(begin, begin + text.size(), nullptr, false);
    try {
      for (const auto& split : document.at("splits")) splits_.push_back(split_of(split));
    } catch (const nlohmann::json::exception&) {
      broken(path(), "its description can't be read");
    }
    int64_t next = 0;
    for (const auto& split : splits_) {
      if (split.first != next || split.count < 0 || split.count > size() - next)
        broken(path(), "its splits do not fit its records");
      next += split.count;
      for (const auto& other : splits_)
        if (&other != &split && (other.name == split.name || split.name.empty()))
          broken(path(), "its splits have no names of their own");
    }
    if (next != size()) broken(path(), "its splits do not fit its records");
  }

  void check_entry(int64_t index) {
    const PackedEntry entry = this->entry(index);
    const auto wrong = [&](const char* what) { broken(path(), str("record ", index, " has ", what)); };
    if (entry.kind > kPackedFloats || !(std::isfinite(entry.peak) && entry.peak > 0))
      wrong("an unknown kind of pixels");
    uint64_t pixels = 0, bytes = 0;
    if (entry.height == 0 || entry.width == 0 || entry.channels == 0 ||
        __builtin_mul_overflow(uint64_t{entry.height} * entry.width, uint64_t{entry.channels}, &pixels) ||
        __builtin_mul_overflow(pixels, uint64_t{entry.kind == kPackedBytes ? 1U : 4U}, &bytes) ||
        entry.height > INT32_MAX || entry.width > INT32_MAX || entry.channels > INT32_MAX)
      wrong("an impossible size");
    if (entry.at % kPackedAlignment != 0 || entry.at < sizeof(PackedHead) || entry.at > tail_.keys_at ||
        bytes > tail_.keys_at - entry.at)
      wrong("pixels outside the file");
    if (entry.key_at > tail_.document_at - tail_.keys_at ||
        entry.key_bytes > tail_.document_at - tail_.keys_at - entry.key_at)
      wrong("a key outside the file");
    const auto split = std::find_if(splits_.begin(), splits_.end(),
                                    [&](const Split& one) { return index < one.first + one.count; });
    if (entry.label < kNoLabel || entry.label >= std::ssize(split->classes)) wrong("a label without a class");
  }

  io::MappedFile file_;
  PackedTail tail_{};
  std::vector<Split> splits_;
  std::unique_ptr<std::atomic<bool>[]> checked_;  ///< by record: its checksum was found right
};

class Packed final : public Dataset {
 public:
  Packed(std::shared_ptr<const PackedFile> file, Split split)
      : file_(std::move(file)), split_(std::move(split)) {}
  int64_t size() const override { return split_.count; }
  Record get(int64_t index) const override {
    const PackedEntry entry = file_->entry(split_.first + index);
    return {file_->key(entry), entry.label, file_->image(split_.first + index, entry)};
  }
  int64_t label(int64_t index) const override { return file_->entry(split_.first + index).label; }
  std::vector<std::string> classes() const override { return split_.classes; }
  std::string uri() const override { return canonical_uri("packed", file_->path(), split_.name); }

 private:
  std::shared_ptr<const PackedFile> file_;
  Split split_;
};

std::vector<std::string> names_of(const PackedFile& file) {
  std::vector<std::string> out;
  for (const auto& split : file.splits())
    if (!split.name.empty()) out.push_back(split.name);
  return out;
}

std::shared_ptr<Dataset> open_packed(Uri& uri) {
  const auto file = std::make_shared<const PackedFile>(uri.path);
  const std::string name = uri.take_split(names_of(*file));
  for (const auto& split : file->splits())
    if (split.name == name) {
      if (split.count == 0) broken(uri.path, str("its split '", name, "' holds no record"));
      return std::make_shared<Packed>(file, split);
    }
  broken(uri.path, "holds no split");
}

const Register<DatasetScheme> registered{
    "packed",
    {"packed:FILE", "decoded pictures in one mapped file, made by `lacuna data pack`", open_packed,
     [](const Uri& uri) { return names_of(PackedFile(uri.path)); }}};

}  // namespace

bool is_packed(const fs::path& file) {
  char begin[sizeof(kPackedMagic)] = {};
  std::ifstream(file, std::ios::binary).read(begin, sizeof(begin));
  return std::memcmp(begin, kPackedMagic, sizeof(begin)) == 0;
}

}  // namespace lacuna::data
