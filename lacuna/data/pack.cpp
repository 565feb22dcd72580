// Writing packed data sets.

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/data/inspect.h"
#include "lacuna/data/packed.h"
#include "lacuna/data/resize.h"
#include "lacuna/io/crc32c.h"
#include "lacuna/io/leftovers.h"

namespace lacuna::data {

namespace fs = io::fs;

namespace {

using Sink = std::function<void(io::Bytes)>;

/// A record as it will be stored; nullopt with a note when it is broken.
struct Prepared {
  std::string key;
  int64_t label = kNoLabel, source_bytes = 0;
  io::Image image;
  uint32_t crc = 0;
  std::optional<Error> broken;
};

io::Bytes bytes_of(const at::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

int64_t stored_bytes(const Record& record, const io::Image& image) {
  if (const auto* view = std::get_if<io::Bytes>(&record.content)) return std::ssize(*view);
  if (const auto* own = std::get_if<std::string>(&record.content)) return std::ssize(*own);
  return static_cast<int64_t>(image.pixels.nbytes());
}

/// With a shorter side of `side`; never larger than it was.
io::Image shrunk(io::Image image, int64_t side) {
  const int64_t h = image.height(), w = image.width(), shorter = std::min(h, w);
  if (side == 0 || shorter <= side) return image;
  const auto scaled = [&](int64_t length) {
    return std::max(side, (2 * length * side + shorter) / (2 * shorter));
  };
  return {resize(image.pixels, {0, 0, h, w}, {scaled(h), scaled(w)}, Interpolation::kBicubic), image.peak};
}

Prepared prepare(const Dataset& set, int64_t index, const PackOptions& options) {
  Prepared out;
  try {
    Record record = set.get(index);
    out.key = record.key, out.label = record.label;
    auto image = decode_record(record, options.limits);
    out.source_bytes = stored_bytes(record, image);
    out.image = shrunk(std::move(image), options.side);
    out.image.pixels = out.image.pixels.contiguous();
    out.crc = io::crc32c(bytes_of(out.image.pixels));
  } catch (const Error& error) {
    out.broken = error;
  }
  return out;
}

class Writer {
 public:
  Writer(const PackOptions& options, PackReport& report, Sink sink)
      : options_(options), report_(report), sink_(std::move(sink)) {
    PackedHead head{.version = kPackedVersion, .zero = 0};
    std::memcpy(head.magic, kPackedMagic, sizeof(head.magic));
    put(&head, sizeof(head));
  }

  void add_split(const std::string& name, const Dataset& set, int64_t done, int64_t of) {
    if (set.modality() != "image")
      fail(set.uri(), str("holds ", set.modality(), ", not pictures"), "only pictures are packed");
    const auto first = std::ssize(entries_);
    // A few records a thread at a time: what is in memory does not grow with the set.
    const int64_t batch = std::max<int64_t>(options_.workers, 1) * 8;
    std::vector<Prepared> prepared;
    for (int64_t from = 0; from < set.size(); from += batch) {
      if (options_.progress) options_.progress(done + from, of);
      prepared.assign(static_cast<size_t>(std::min(batch, set.size() - from)), {});
      parallel(std::ssize(prepared), options_.workers,
               [&](int64_t i) { prepared[static_cast<size_t>(i)] = prepare(set, from + i, options_); });
      for (const auto& record : prepared) add(record);
    }
    const int64_t count = std::ssize(entries_) - first;
    if (count == 0) fail(set.uri(), "holds no readable picture", "look at it with `lacuna inspect`");
    report_.splits.emplace_back(name, count);
    splits_.push_back(
        {{"name", name}, {"uri", set.uri()}, {"first", first}, {"count", count}, {"classes", set.classes()}});
  }

  void finish(const std::string& uri) {
    PackedTail tail{.count = entries_.size(), .version = kPackedVersion, .zero = 0};
    const auto part = [this](io::Bytes bytes, uint64_t& at, uint32_t& crc) {
      at = static_cast<uint64_t>(report_.file_bytes), crc = io::crc32c(bytes);
      put(bytes.data(), bytes.size());
    };
    // File names need not be UTF-8; JSON must.
    const std::string document =
        nlohmann::json{{"uri", uri}, {"side", options_.side}, {"splits", splits_}}.dump(
            -1, ' ', false, nlohmann::json::error_handler_t::replace);
    part(std::as_bytes(std::span(keys_)), tail.keys_at, tail.keys_crc);
    part(std::as_bytes(std::span(document)), tail.document_at, tail.document_crc);
    part(std::as_bytes(std::span(entries_)), tail.entries_at, tail.entries_crc);
    tail.file_bytes = static_cast<uint64_t>(report_.file_bytes) + sizeof(tail);
    tail.crc = io::crc32c(std::as_bytes(std::span(&tail, 1)).first(offsetof(PackedTail, crc)));
    std::memcpy(tail.magic, kPackedMagic, sizeof(tail.magic));
    put(&tail, sizeof(tail));
    report_.records = std::ssize(entries_);
  }

 private:
  void put(const void* data, size_t bytes) {
    sink_({static_cast<const std::byte*>(data), bytes});
    report_.file_bytes += static_cast<int64_t>(bytes);
  }

  void add(const Prepared& record) {
    if (record.broken) return leave_out(*record.broken);
    static constexpr char kZeros[kPackedAlignment] = {};
    put(kZeros, -static_cast<uint64_t>(report_.file_bytes) % kPackedAlignment);
    const at::Tensor& pixels = record.image.pixels;
    PackedEntry entry{};
    entry.at = static_cast<uint64_t>(report_.file_bytes);
    entry.key_at = keys_.size(), entry.key_bytes = static_cast<uint32_t>(record.key.size());
    entry.height = static_cast<uint32_t>(pixels.size(0)), entry.width = static_cast<uint32_t>(pixels.size(1));
    entry.channels = static_cast<uint32_t>(pixels.size(2));
    entry.kind = pixels.scalar_type() == at::kByte ? kPackedBytes : kPackedFloats;
    entry.peak = record.image.peak, entry.label = static_cast<int32_t>(record.label), entry.crc = record.crc;
    keys_ += record.key;
    entries_.push_back(entry);
    report_.source_bytes += record.source_bytes;
    put(pixels.const_data_ptr(), pixels.nbytes());
  }

  void leave_out(const Error& error) {
    if (++report_.left_out > options_.max_bad)
      fail(error.subject(), error.why(),
           str(error.remedy(), ", or let more broken records be left out (--max-bad is ", options_.max_bad,
               ")"));
    log::warn(str("left out ", error.subject(), ": ", error.why()));
  }

  const PackOptions& options_;
  PackReport& report_;
  Sink sink_;
  std::string keys_;
  std::vector<PackedEntry> entries_;
  nlohmann::json splits_ = nlohmann::json::array();
};

/// The splits to pack, by name: all, unless the user names one.
std::vector<std::pair<std::string, std::shared_ptr<Dataset>>> open_splits(const std::string& text) {
  const Uri uri = parse_uri(text);
  const auto& scheme = Registry<DatasetScheme>::instance().get(uri.scheme);
  std::vector<std::string> names;
  if (scheme.splits && uri.query.count("split") == 0) names = scheme.splits(uri);
  std::vector<std::pair<std::string, std::shared_ptr<Dataset>>> out;
  for (const auto& name : names)
    out.emplace_back(name, open_dataset(str(text, uri.query.empty() ? '?' : '&', "split=", name)));
  if (out.empty()) out.emplace_back("", open_dataset(text));
  return out;
}

}  // namespace

PackReport pack(const std::string& uri, const fs::path& file, const PackOptions& options) {
  std::error_code error;
  if (fs::exists(file, error)) fail(file.string(), "is there already", "remove it, or name another file");
  const auto splits = open_splits(uri);
  int64_t of = 0, done = 0;
  for (const auto& [name, set] : splits) of += set->size();
  PackReport report;
  io::remove_leftovers(file);
  io::write_atomically(file, [&](const Sink& sink) {
    Writer writer(options, report, sink);
    for (const auto& [name, set] : splits) {
      writer.add_split(name, *set, done, of);
      done += set->size();
    }
    writer.finish(uri);
  });
  return report;
}

}  // namespace lacuna::data
