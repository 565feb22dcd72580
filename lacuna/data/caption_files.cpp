// captions:FILE?images=DIR: pictures with captions by a list.

#include "lacuna/data/caption_files.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/data/dataset.h"

namespace lacuna::data {

namespace {

namespace fs = io::fs;

constexpr const char* kForms =
    "give COCO or Karpathy JSON, JSON lines, or a table whose header names image and caption";

std::string trimmed(std::string_view text) {
  constexpr const char* kBlank = " \t\r\n";
  const auto from = text.find_first_not_of(kBlank);
  if (from == std::string_view::npos) return "";
  return std::string(text.substr(from, text.find_last_not_of(kBlank) - from + 1));
}

/// Captions put together by picture.
class Collected {
 public:
  void add(const std::string& image, const std::string& caption, const std::string& split = "") {
    const auto [at, fresh] = place_.emplace(image, all_.size());
    if (fresh) all_.push_back({image, {}, split});
    if (auto text = trimmed(caption); !text.empty()) all_[at->second].captions.push_back(std::move(text));
  }
  std::vector<Captioned> take(int64_t& without) {
    const auto bare = std::erase_if(all_, [](const Captioned& entry) { return entry.captions.empty(); });
    without = static_cast<int64_t>(bare);
    return std::move(all_);
  }

 private:
  std::vector<Captioned> all_;
  std::unordered_map<std::string, size_t> place_;
};

std::string text_at(const Json& object, std::initializer_list<const char*> keys) {
  for (const char* key : keys)
    if (const auto found = object.find(key); found != object.end() && found->is_string())
      return found->get<std::string>();
  return "";
}

void read_coco(const Json& document, const std::string& name, Collected& out) {
  std::map<Json, std::string> names;
  for (const auto& image : document.at("images")) {
    names[image.at("id")] = image.at("file_name").get<std::string>();
    out.add(names[image.at("id")], "");
  }
  for (const auto& annotation : document.at("annotations")) {
    const auto found = names.find(annotation.at("image_id"));
    if (found == names.end())
      fail(name,
           str("a caption belongs to image ", annotation.at("image_id").dump(), ", which is not listed"),
           "repair the file");
    out.add(found->second, annotation.at("caption").get<std::string>());
  }
}

void read_karpathy(const Json& document, Collected& out) {
  for (const auto& image : document.at("images")) {
    const auto folder = text_at(image, {"filepath"});
    const auto file = (fs::path(folder) / image.at("filename").get<std::string>()).string();
    auto split = text_at(image, {"split"});
    if (split == "restval") split = "train";
    out.add(file, "", split);
    for (const auto& sentence : image.at("sentences")) out.add(file, text_at(sentence, {"raw"}), split);
  }
}

void read_json_lines(const std::string& content, const std::string& name, Collected& out) {
  int64_t number = 0;
  for (const auto& line : caption_lines(content)) {
    ++number;
    const auto entry = Json::parse(line, nullptr, false);
    const auto image =
        entry.is_object() ? text_at(entry, {"image", "file_name", "filename", "image_path", "filepath"}) : "";
    if (image.empty()) fail(str(name, ", record ", number), "names no image", kForms);
    const auto split = text_at(entry, {"split"});
    out.add(image, text_at(entry, {"caption", "text", "captions"}), split);
    for (const char* key : {"captions", "caption"})
      if (const auto found = entry.find(key); found != entry.end() && found->is_array())
        for (const auto& caption : *found) out.add(image, caption.get<std::string>(), split);
  }
}

/// Fields of a table's rows; double quotes as in RFC 4180 where the delimiter is a comma.
std::vector<std::vector<std::string>> rows_of(const std::string& content, char delimiter) {
  std::vector<std::vector<std::string>> rows{{""}};
  bool quoted = false;
  for (size_t i = 0; i < content.size(); ++i) {
    const char c = content[i];
    auto& field = rows.back().back();
    if (delimiter == ',' && c == '"' && (quoted || trimmed(field).empty())) {
      if (quoted && i + 1 < content.size() && content[i + 1] == '"')
        field += content[i++];
      else
        quoted = !quoted;
    } else if (!quoted && c == delimiter) {
      rows.back().emplace_back();
    } else if (!quoted && c == '\n') {
      rows.push_back({""});
    } else {
      field += c;
    }
  }
  for (auto& row : rows)
    for (auto& field : row) field = trimmed(field);
  std::erase_if(rows, [](const auto& row) { return row.size() == 1 && row[0].empty(); });
  return rows;
}

std::string without_number(const std::string& image) { return image.substr(0, image.find('#')); }

void read_table(const std::string& content, const std::string& name, Collected& out) {
  const auto first = content.substr(0, content.find('\n'));
  const char delimiter = first.find('\t') != std::string::npos  ? '\t'
                         : first.find('|') != std::string::npos ? '|'
                                                                : ',';
  const auto rows = rows_of(content, delimiter);
  if (rows.empty() || rows.front().size() < 2) fail(name, "is no list of captions", kForms);
  const auto column = [&](const std::set<std::string>& names) -> int64_t {
    for (size_t i = 0; i < rows.front().size(); ++i)
      if (names.count(rows.front()[i])) return static_cast<int64_t>(i);
    return -1;
  };
  int64_t image = column({"image", "image_name", "filename", "file_name", "filepath", "image_path", "file"});
  int64_t caption = column({"caption", "comment", "text", "title", "raw", "description"});
  const bool headless = is_picture_extension(fs::path(without_number(rows.front()[0])).extension().string());
  if (headless) image = 0, caption = std::ssize(rows.front()) - 1;
  if (image < 0 || caption < 0) fail(name, "its header names no image and caption", kForms);
  for (size_t i = headless ? 0 : 1; i < rows.size(); ++i) {
    if (std::ssize(rows[i]) <= image)
      fail(str(name, ", row ", i + 1), "names no image", "repair or remove it");
    const bool has_text = std::ssize(rows[i]) > caption;
    out.add(without_number(rows[i][static_cast<size_t>(image)]),
            has_text ? rows[i][static_cast<size_t>(caption)] : "");
  }
}

class CaptionList final : public Dataset {
 public:
  CaptionList(fs::path images, std::vector<Captioned> entries, std::string uri)
      : images_(std::move(images)), entries_(std::move(entries)), uri_(std::move(uri)) {}
  int64_t size() const override { return std::ssize(entries_); }
  Record get(int64_t index) const override {
    const auto& entry = entries_[static_cast<size_t>(index)];
    const auto path = (images_ / entry.image).string();
    Record record{path, kNoLabel, io::read_file(path)};
    record.captions = entry.captions;
    return record;
  }
  int64_t label(int64_t /*index*/) const override { return kNoLabel; }
  std::vector<std::string> classes() const override { return {}; }
  std::string uri() const override { return uri_; }

 private:
  fs::path images_;
  std::vector<Captioned> entries_;
  std::string uri_;
};

std::vector<Captioned> read_list(const std::string& path) {
  int64_t without = 0;
  auto out = read_captions(io::read_file(path), path, without);
  if (without > 0) log::warn(str(path, ": ", without, " pictures without a caption are left out"));
  if (out.empty()) fail(path, "holds no caption", kForms);
  return out;
}

std::vector<std::string> splits_of(const std::vector<Captioned>& entries) {
  std::set<std::string> out;
  for (const auto& entry : entries)
    if (!entry.split.empty()) out.insert(entry.split);
  return {out.begin(), out.end()};
}

std::shared_ptr<Dataset> open_list(Uri& uri) {
  auto entries = read_list(uri.path);
  const auto split = uri.take_split(splits_of(entries));
  const auto given = uri.take("images", "");
  const auto images = given.empty() ? fs::absolute(uri.path).parent_path() : fs::absolute(given);
  if (!split.empty()) std::erase_if(entries, [&](const Captioned& entry) { return entry.split != split; });
  if (const auto path = images / entries.front().image; !fs::exists(path))
    fail(uri.text, str("its first picture, ", path.string(), ", is not there"),
         "say where the pictures lie: captions:FILE?images=DIR");
  auto opened = canonical_uri("captions", uri.path, split);
  if (!given.empty()) opened += str(split.empty() ? '?' : '&', "images=", images.lexically_normal().string());
  return std::make_shared<CaptionList>(images, std::move(entries), opened);
}

const Register<DatasetScheme> registered{
    "captions",
    {"captions:FILE?images=DIR",
     "pictures with captions, listed as COCO or Karpathy JSON, JSON lines, CSV or Flickr's tables", open_list,
     [](const Uri& uri) { return splits_of(read_list(uri.path)); }}};

}  // namespace

std::vector<std::string> caption_lines(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    if (auto line = trimmed(text.substr(0, end)); !line.empty()) out.push_back(std::move(line));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::vector<Captioned> read_captions(const std::string& content, const std::string& name, int64_t& without) {
  Collected out;
  const auto start = content.find_first_not_of(" \t\r\n");
  if (start == std::string::npos || content[start] != '{') {
    read_table(content, name, out);
    return out.take(without);
  }
  const auto document = Json::parse(content, nullptr, false);
  try {
    if (document.is_object() && document.contains("annotations"))
      read_coco(document, name, out);
    else if (document.is_object() && document.contains("images"))
      read_karpathy(document, out);
    else
      read_json_lines(content, name, out);
  } catch (const Json::exception& error) {
    fail(name, str("a caption's entry lacks a key (", error.what(), ")"), kForms);
  }
  return out.take(without);
}

}  // namespace lacuna::data
