// wds:PATTERN: WebDataset tar shards. Members that share a key (the name up to the first dot of its last
// part) and lie next to each other are one record: KEY.jpg|png|tif|npy, KEY.wav|flac|mp3|ogg or
// KEY.mp4|webm|avi|gif, with its label in KEY.cls (a number) or KEY.json ("label"), or in a field of KEY
// itself (label_field=1), and its transcript, or a picture's captions, one a line, in KEY.txt.

#include <algorithm>
#include <charconv>
#include <unordered_set>

#include "lacuna/core/error.h"
#include "lacuna/data/audio.h"
#include "lacuna/data/caption_files.h"
#include "lacuna/data/dataset.h"
#include "lacuna/data/folder.h"
#include "lacuna/data/transcripts.h"
#include "lacuna/data/video.h"
#include "lacuna/io/tar.h"

namespace lacuna::data {

namespace fs = io::fs;

namespace {

constexpr int64_t kMaxShards = 1000000;

/// Every {000..009} of a pattern written out, in order; the digits of the first number give the width.
std::vector<std::string> expand_ranges(const std::string& pattern) {
  const auto open = pattern.find('{'), close = pattern.find('}', open);
  if (open == std::string::npos) return {pattern};
  const std::string body = close == std::string::npos ? "" : pattern.substr(open + 1, close - open - 1);
  const auto dots = body.find("..");
  int64_t from = -1, to = -1;
  if (dots != std::string::npos) {
    std::from_chars(body.data(), body.data() + dots, from);
    std::from_chars(body.data() + dots + 2, body.data() + body.size(), to);
  }
  if (from < 0 || to < from || to - from >= kMaxShards)
    fail("wds:" + pattern, "'{" + body + "}' is not a range", "write it as {000..009}");
  std::vector<std::string> out;
  for (int64_t number = from; number <= to; ++number) {
    std::string digits = std::to_string(number);
    digits.insert(0, dots > digits.size() ? dots - digits.size() : 0, '0');
    const auto rest = expand_ranges(pattern.substr(0, open) + digits + pattern.substr(close + 1));
    out.insert(out.end(), rest.begin(), rest.end());
  }
  return out;
}

std::vector<fs::path> find_shards(const std::string& pattern) {
  std::vector<fs::path> out;
  std::error_code error;
  if (!fs::is_directory(pattern, error)) {
    for (const auto& path : expand_ranges(pattern)) out.emplace_back(path);
    return out;
  }
  for (const auto& entry : fs::directory_iterator(pattern, error)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".tar") || name.ends_with(".tar.gz") || name.ends_with(".tgz"))
      out.push_back(entry.path());
  }
  if (out.empty()) fail(pattern, "holds no .tar or .tar.gz shard", "name a folder of shards");
  std::sort(out.begin(), out.end());
  return out;
}

/// Splits by the shards' names, where they speak of more than one; shards that speak of none are then left
/// out.
std::map<std::string, std::vector<fs::path>> split_shards(const std::vector<fs::path>& shards) {
  std::map<std::string, std::vector<fs::path>> out;
  for (const auto& path : shards) {
    const std::string split = split_of_name(path.filename().string());
    if (!split.empty()) out[split].push_back(path);
  }
  if (out.size() < 2) out.clear();
  return out;
}

std::vector<std::string> names_of(const std::map<std::string, std::vector<fs::path>>& splits) {
  std::vector<std::string> out;
  for (const auto& [name, shards] : splits) out.push_back(name);
  return out;
}

int64_t parse_label(std::string_view text, const std::string& name) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) text.remove_suffix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())) != 0) text.remove_prefix(1);
  int32_t label = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), label);
  if (error != std::errc() || end != text.data() + text.size() || label < 0)
    fail(name, "is not a class number", "write 0, 1, 2, ... as text");
  return label;
}

int64_t parse_json_label(std::string_view text, const std::string& name) {
  const auto document = nlohmann::json::parse(text, nullptr, false);
  if (document.is_discarded() || !document.is_object())
    fail(name, "is not a JSON object", "repair or remove it");
  const auto found = document.find("label");
  if (found == document.end()) return kNoLabel;
  if (!found->is_number_integer() || found->get<int64_t>() < 0 || found->get<int64_t>() > INT32_MAX)
    fail(name, "its \"label\" is not a class number", "write 0, 1, 2, ...");
  return found->get<int64_t>();
}

class WebDataset final : public Dataset {
 public:
  WebDataset(const std::vector<fs::path>& paths, std::string uri, int64_t label_field)
      : uri_(std::move(uri)) {
    for (const auto& path : paths) {
      shards_.emplace_back(path);
      index_shard(shards_.size() - 1);
    }
    if (entries_.empty())
      fail(uri_,
           "holds no picture (KEY.jpg, .jpeg, .png, .tif, .tiff or .npy), no sound (KEY.wav, .flac, .mp3, "
           ".ogg) and no film (KEY.mp4, .webm, .mkv, .mov, .avi, .gif)",
           "check what the shards hold");
    if (label_field >= 0) {
      label_by_name(label_field);
      return;
    }
    int64_t top = kNoLabel;
    for (const auto& entry : entries_) top = std::max(top, entry.label);
    if (top != kNoLabel) classes_ = class_names(paths.front().parent_path(), top + 1);
  }

  int64_t size() const override { return static_cast<int64_t>(entries_.size()); }
  Record get(int64_t index) const override {
    const Entry& entry = entries_[static_cast<size_t>(index)];
    const io::TarFile& shard = shards_[entry.shard];
    const io::TarMember& member = shard.members()[entry.member];
    Record record{name_of(shard, member), entry.label, shard.content(member)};
    if (modality_ == "image") record.captions = captions(entry);
    return record;
  }
  int64_t label(int64_t index) const override { return entries_[static_cast<size_t>(index)].label; }
  std::vector<std::string> classes() const override { return classes_; }
  std::string transcript(int64_t index) const override {
    const Entry& entry = entries_[static_cast<size_t>(index)];
    if (entry.text < 0) return "";
    const io::TarFile& shard = shards_[entry.shard];
    return one_line(text_of(shard, shard.members()[static_cast<size_t>(entry.text)]));
  }
  std::string uri() const override { return uri_; }
  std::string modality() const override { return modality_.empty() ? "image" : modality_; }

 private:
  struct Entry {
    size_t shard, member;
    int64_t label;
    int64_t text;  ///< member with its transcript; -1: none
  };

  /// One a line of KEY.txt.
  std::vector<std::string> captions(const Entry& entry) const {
    if (entry.text < 0) return {};
    const io::TarFile& shard = shards_[entry.shard];
    return caption_lines(text_of(shard, shard.members()[static_cast<size_t>(entry.text)]));
  }

  static std::string name_of(const io::TarFile& shard, const io::TarMember& member) {
    return shard.path().string() + "#" + member.name;
  }

  void label_by_name(int64_t field) {
    std::vector<std::string> names;
    for (const auto& entry : entries_) {
      const std::string& name = shards_[entry.shard].members()[entry.member].name;
      names.push_back(name.substr(name.rfind('/') + 1));  // npos + 1 = 0: the whole name
    }
    auto found = labels_of_names(names, field);
    for (size_t i = 0; i < entries_.size(); ++i) entries_[i].label = found.labels[i];
    classes_ = std::move(found.classes);
  }

  /// Shards hold records of one modality.
  bool is_content(const std::string& extension, const std::string& name) {
    const std::string modality = is_picture_extension(extension) ? "image"
                                 : is_sound_extension(extension) ? "audio"
                                 : is_film_extension(extension)  ? "video"
                                                                 : "";
    if (modality.empty()) return false;
    if (!modality_.empty() && modality != modality_)
      fail(name, str("is ", modality, " among ", modality_), "keep them in shards of their own");
    modality_ = modality;
    return true;
  }

  void index_shard(size_t number) {
    const io::TarFile& shard = shards_[number];
    std::unordered_set<std::string> seen;
    std::string current;
    std::optional<Entry> entry;
    int64_t label = kNoLabel, text = -1;
    const auto close = [&] {
      if (entry) entries_.push_back({entry->shard, entry->member, label, text});
      entry.reset();
      label = kNoLabel, text = -1;
    };
    for (size_t i = 0; i < shard.members().size(); ++i) {
      const io::TarMember& member = shard.members()[i];
      const auto slash = member.name.rfind('/');
      const auto dot = member.name.find('.', slash == std::string::npos ? 0 : slash + 1);
      if (dot == std::string::npos) continue;
      const std::string key = member.name.substr(0, dot), extension = member.name.substr(dot + 1);
      if (seen.empty() || key != current) {
        close();
        current = key;
        if (!seen.insert(key).second)
          fail(name_of(shard, member), "its key occurs before, but not next to it",
               "write the shard sorted by name (tar --sort=name)");
      }
      if (!entry && is_content(extension, name_of(shard, member))) entry = Entry{number, i, kNoLabel, -1};
      if (extension == "cls") label = parse_label(text_of(shard, member), name_of(shard, member));
      if (extension == "txt") text = static_cast<int64_t>(i);
      if (extension == "json" && label == kNoLabel)
        label = parse_json_label(text_of(shard, member), name_of(shard, member));
    }
    close();
  }

  static std::string_view text_of(const io::TarFile& shard, const io::TarMember& member) {
    const io::Bytes bytes = shard.content(member);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  std::string uri_;
  std::vector<io::TarFile> shards_;
  std::vector<Entry> entries_;
  std::vector<std::string> classes_;
  std::string modality_;
};

std::shared_ptr<Dataset> open_webdataset(Uri& uri) {
  const auto shards = find_shards(uri.path);
  const auto splits = split_shards(shards);
  const std::string split = uri.take_split(names_of(splits));
  const int64_t label_field = take_label_field(uri);
  std::string opened = canonical_uri("wds", uri.path, split);
  if (label_field >= 0) opened += str(split.empty() ? '?' : '&', "label_field=", label_field);
  return std::make_shared<WebDataset>(split.empty() ? shards : splits.at(split), opened, label_field);
}

const Register<DatasetScheme> registered{
    "wds",
    {"wds:PATTERN", "WebDataset tar shards, .gz or not: a file, a folder, or a range {000..009}",
     open_webdataset, [](const Uri& uri) { return names_of(split_shards(find_shards(uri.path))); }}};

}  // namespace

}  // namespace lacuna::data
