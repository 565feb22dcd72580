#include "lacuna/data/dataset.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <fstream>
#include <utility>

#include "lacuna/core/error.h"
#include "lacuna/data/audio.h"
#include "lacuna/data/motion.h"
#include "lacuna/data/packed.h"
#include "lacuna/data/point_classes.h"
#include "lacuna/data/subset.h"
#include "lacuna/data/text.h"
#include "lacuna/data/tokens.h"
#include "lacuna/data/video.h"

namespace lacuna::data {

namespace fs = io::fs;

namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

bool ends_with_any(const std::string& name, std::initializer_list<const char*> endings) {
  return std::any_of(endings.begin(), endings.end(),
                     [&](const char* ending) { return name.ends_with(ending); });
}

bool is_shard(const std::string& name) { return ends_with_any(name, {".tar", ".tar.gz", ".tgz"}); }
bool is_idx(const std::string& name) { return ends_with_any(name, {"-ubyte", "-ubyte.gz"}); }

/// Files of points by endings that nothing else has.
bool is_cloud(const std::string& name) { return ends_with_any(name, {".ply", ".off", ".pcd.bin"}); }

/// The scheme of the first file below `folder` that one of them reads; pictures when there is none.
std::string scheme_of_files(const fs::path& folder) {
  std::error_code error;
  bool texts = false;  // they also lie beside other data: notes, captions
  for (fs::recursive_directory_iterator entry(folder, error), last; !error && entry != last;
       entry.increment(error)) {
    const std::string extension = entry->path().extension().string();
    if (is_picture_extension(extension)) return "imagefolder";
    if (is_sound_extension(extension)) return "audio";
    if (is_film_extension(extension)) return "video";
    if (is_motion_extension(extension)) return "motion";
    if (is_cloud(entry->path().string())) return "points";
    texts = texts || (is_text_file(entry->path()) && entry->path().stem() != "README");
  }
  return texts ? "text" : "imagefolder";
}

/// What a bare path holds, by its name and, for a folder, by the files in it.
std::string recognise(const fs::path& path) {
  const std::string name = path.filename().string();
  if (is_shard(name)) return "wds";
  if (is_idx(name)) return "idx";
  if (name.ends_with(".tsv")) return "audio";
  if (name.ends_with(".npz")) return "motion";
  std::error_code error;
  if (!fs::exists(path, error))
    fail(path.string(), "is not there", "check the path, or name a data set scheme");
  if (!fs::is_directory(path, error)) {
    if (is_packed(path)) return "packed";
    if (is_token_file(path)) return "tokens";
    if (is_text_file(path)) return "text";
    if (is_cloud(name)) return "points";
    fail(path.string(),
         "is neither a folder nor a tar shard, an IDX file, a packed data set, a text nor tokens",
         "name the data set's folder");
  }
  for (const auto& entry : fs::directory_iterator(path, error)) {
    const std::string inside = entry.path().filename().string();
    if (is_shard(inside)) return "wds";
    if (is_idx(inside)) return "idx";
    if ((inside.starts_with("data_batch_") || inside.starts_with("test_batch")) && inside.ends_with(".bin"))
      return "cifar10";
  }
  if (error) fail(path.string(), error.message(), "make the folder readable");
  return scheme_of_files(path);
}

/// "a=b&c=d" into a map.
std::map<std::string, std::string> parse_query(const std::string& text, const std::string& uri) {
  std::map<std::string, std::string> out;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, '&');) {
    const auto equals = part.find('=');
    if (equals == std::string::npos || equals == 0)
      fail("data URI '" + uri + "'", "'" + part + "' is not key=value",
           "write it as PATH?key=value&key=value");
    if (!out.emplace(part.substr(0, equals), part.substr(equals + 1)).second)
      fail("data URI '" + uri + "'", "'" + part.substr(0, equals) + "' is given twice", "give it once");
  }
  return out;
}

class Subset final : public Dataset, public PointClasses {
 public:
  Subset(std::shared_ptr<Dataset> whole, std::vector<int64_t> indices)
      : whole_(std::move(whole)), indices_(std::move(indices)) {}
  int64_t size() const override { return static_cast<int64_t>(indices_.size()); }
  Record get(int64_t index) const override { return whole_->get(indices_[static_cast<size_t>(index)]); }
  int64_t label(int64_t index) const override { return whole_->label(indices_[static_cast<size_t>(index)]); }
  std::vector<std::string> classes() const override { return whole_->classes(); }
  std::vector<std::string> point_classes() const override { return data::point_classes(*whole_); }
  std::string transcript(int64_t index) const override {
    return whole_->transcript(indices_[static_cast<size_t>(index)]);
  }
  std::string uri() const override { return whole_->uri(); }
  std::string modality() const override { return whole_->modality(); }

 private:
  std::shared_ptr<Dataset> whole_;
  std::vector<int64_t> indices_;
};

std::shared_ptr<Dataset> open_uri(Uri uri) {
  const DatasetScheme& scheme = Registry<DatasetScheme>::instance().get(uri.scheme);
  auto dataset = scheme.open(uri);
  if (!uri.query.empty()) {
    const std::string& key = uri.query.begin()->first;
    fail("data URI '" + uri.text + "'", "unknown query key '" + key + "'", suggest(key, uri.known));
  }
  return dataset;
}

/// A class file's line without its index and WordNet id.
std::string class_name(const std::string& line, size_t index) {
  std::istringstream words(line);
  std::string word, name;
  for (size_t position = 0; words >> word; ++position) {
    if (position == 0 && word == std::to_string(index)) continue;
    const bool wordnet =
        word.size() == 9 && word[0] == 'n' && std::all_of(word.begin() + 1, word.end(), ::isdigit);
    if (wordnet && name.empty() && words.peek() != EOF) continue;
    name += (name.empty() ? "" : " ") + word;
  }
  return name.empty() ? line : name;
}

}  // namespace

io::Bytes encoded_bytes(const Record& record) {
  if (const auto* view = std::get_if<io::Bytes>(&record.content)) return *view;
  if (const auto* own = std::get_if<std::string>(&record.content)) return std::as_bytes(std::span(*own));
  if (const auto* file = std::get_if<io::MappedFile>(&record.content)) return file->bytes();
  const char* is = std::holds_alternative<io::Image>(record.content)    ? "a picture"
                   : std::holds_alternative<io::Audio>(record.content)  ? "sound"
                   : std::holds_alternative<io::Motion>(record.content) ? "a motion"
                   : std::holds_alternative<io::Points>(record.content) ? "a cloud of points"
                                                                        : "a film";
  fail(record.key, str("is ", is, ", which is not what is asked for"), "give a data set of the right kind");
}

io::Image decode_record(const Record& record, const io::ImageLimits& limits) {
  if (const auto* image = std::get_if<io::Image>(&record.content)) return *image;
  return io::decode_image(encoded_bytes(record), record.key, limits);
}

std::string Uri::take(const std::string& key, const std::string& fallback) {
  known.push_back(key);
  const auto found = query.find(key);
  if (found != query.end()) {
    std::string value = std::move(found->second);
    query.erase(found);
    return value;
  }
  return key == "split" && !default_split.empty() ? default_split : fallback;
}

std::string Uri::take_split(const std::vector<std::string>& there) {
  const bool named = query.count("split") != 0;
  const std::string wanted = take("split", "");
  const auto has = [&](const std::string& split) {
    return std::count(there.begin(), there.end(), split) != 0;
  };
  if (has(wanted)) return wanted;
  const std::string sibling = wanted == "test" ? "val" : wanted == "val" ? "test" : "";
  if (!named && has(sibling)) return sibling;
  if (named || (!wanted.empty() && !there.empty()))
    fail("data URI '" + text + "'", "has no split '" + wanted + "'",
         there.empty() ? "leave split out" : "its splits: " + join(there));
  if (there.empty()) return "";
  return has("train") ? "train" : there.front();
}

Uri parse_uri(const std::string& text) {
  Uri uri;
  uri.text = text;
  if (text.empty()) fail("data URI", "is empty", "give a path or SCHEME:PATH");
  std::error_code error;
  const bool plain_path = fs::exists(text, error);
  const auto query = plain_path ? std::string::npos : text.find('?');
  if (query != std::string::npos) uri.query = parse_query(text.substr(query + 1), text);
  uri.path = text.substr(0, query);
  const auto colon = uri.path.find(':');
  const bool schemed = !plain_path && colon != std::string::npos &&
                       std::all_of(uri.path.begin(), uri.path.begin() + static_cast<std::ptrdiff_t>(colon),
                                   [](unsigned char c) { return std::isalnum(c) != 0; });
  if (schemed) {
    uri.scheme = uri.path.substr(0, colon);
    uri.path = uri.path.substr(colon + 1);
  } else {
    uri.scheme = recognise(uri.path);
  }
  return uri;
}

std::shared_ptr<Dataset> open_dataset(const std::string& text, const std::string& split) {
  Uri uri = parse_uri(text);
  uri.default_split = split;
  return open_uri(std::move(uri));
}

std::shared_ptr<Dataset> open_test_split(const std::string& text) {
  Uri uri = parse_uri(text);
  const DatasetScheme& scheme = Registry<DatasetScheme>::instance().get(uri.scheme);
  const auto named = uri.query.extract("split");
  if (!scheme.splits || (!named.empty() && named.mapped() != "train")) return nullptr;
  const auto there = scheme.splits(uri);
  for (const char* split : {"test", "val"})
    if (std::count(there.begin(), there.end(), split) != 0) {
      uri.default_split = split;
      return open_uri(std::move(uri));
    }
  return nullptr;
}

std::string split_of_name(const std::string& name) {
  static const std::map<std::string, std::string> kSplits{
      {"train", "train"},    {"training", "train"}, {"val", "val"},   {"valid", "val"},
      {"validation", "val"}, {"dev", "val"},        {"test", "test"}, {"testing", "test"}};
  std::string word;
  for (const char c : lower(name) + ".") {
    if (std::isalpha(static_cast<unsigned char>(c)) != 0) {
      word += c;
      continue;
    }
    const auto found = kSplits.find(word);
    if (found != kSplits.end()) return found->second;
    word.clear();
  }
  return "";
}

bool is_picture_extension(std::string extension) {
  extension = lower(extension.starts_with(".") ? extension.substr(1) : extension);
  for (const char* known : {"jpg", "jpeg", "png", "tif", "tiff", "npy"})
    if (extension == known) return true;
  return false;
}

std::vector<std::string> class_names(const fs::path& folder, int64_t count) {
  std::vector<std::string> out;
  const fs::path path = folder / "classes.txt";
  std::ifstream file(path);
  if (!file) {
    for (int64_t label = 0; label < count; ++label) out.push_back(std::to_string(label));
    return out;
  }
  for (std::string line; std::getline(file, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty()) out.push_back(class_name(line, out.size()));
  }
  if (static_cast<int64_t>(out.size()) < count)
    fail(path.string(), str("names ", out.size(), " classes, but there is a label ", count - 1),
         "add the missing names, one a line, or remove the file");
  return out;
}

std::string canonical_uri(const std::string& scheme, const fs::path& path, const std::string& split) {
  const std::string absolute = fs::absolute(path).lexically_normal().string();
  return scheme + ":" + absolute + (split.empty() ? "" : "?split=" + split);
}

std::vector<std::string> point_classes(const Dataset& dataset) {
  const auto* named = dynamic_cast<const PointClasses*>(&dataset);
  return named ? named->point_classes() : std::vector<std::string>{};
}

std::shared_ptr<Dataset> subset(std::shared_ptr<Dataset> whole, std::vector<int64_t> indices) {
  return std::make_shared<Subset>(std::move(whole), std::move(indices));
}

std::pair<std::shared_ptr<Dataset>, std::shared_ptr<Dataset>> hold_out(std::shared_ptr<Dataset> whole,
                                                                       double share, uint64_t seed) {
  std::vector<int64_t> kept, held;
  for (const auto& [label, rows] : shuffled_by_label(*whole, "hold_out", seed)) {
    const int64_t count = std::ssize(rows);
    const auto taken = std::clamp<int64_t>(std::llround(share * static_cast<double>(count)),
                                           count > 1 ? 1 : 0, std::max<int64_t>(count - 1, 0));
    held.insert(held.end(), rows.begin(), rows.begin() + taken);
    kept.insert(kept.end(), rows.begin() + taken, rows.end());
  }
  std::sort(kept.begin(), kept.end());
  std::sort(held.begin(), held.end());
  return {subset(whole, std::move(kept)), subset(whole, std::move(held))};
}

}  // namespace lacuna::data
