#include "lacuna/data/text.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>

#include "lacuna/core/error.h"
#include "lacuna/data/dialogue_files.h"
#include "lacuna/io/compressed.h"

namespace lacuna::data {

namespace fs = io::fs;

namespace {

constexpr size_t kLongestLine = size_t{1} << 28;

std::string_view view_of(io::Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n\f\v") == std::string_view::npos;
}

/// Without .gz or .zst.
std::string plain_extension(fs::path path) {
  if (path.extension() == ".gz" || path.extension() == ".zst") path = path.stem();
  return path.extension().string();
}

}  // namespace

bool is_json_lines(const fs::path& path) {
  const auto extension = plain_extension(path);
  return extension == ".jsonl" || extension == ".ndjson";
}

bool is_text_file(const fs::path& path) {
  const auto extension = plain_extension(path);
  return is_json_lines(path) || extension == ".txt" || extension == ".text" || extension == ".md";
}

std::vector<DocumentPlace> find_documents(io::Bytes bytes, const TextRules& rules, bool json) {
  const auto text = view_of(bytes);
  std::vector<DocumentPlace> out;
  const auto take = [&](size_t begin, size_t end) {
    if (!is_blank(text.substr(begin, end - begin))) out.push_back({begin, end});
  };
  if (!json && rules.documents == "file") {
    take(0, text.size());
    return out;
  }
  const bool lines = json || rules.documents == "line";
  size_t begin = 0;  // of the document at hand
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    if (lines) {
      take(at, end);
    } else if (is_blank(text.substr(at, end - at))) {
      take(begin, at);
      begin = end + 1;
    }
    at = end + 1;
  }
  if (!lines && begin < text.size()) take(begin, text.size());
  return out;
}

std::string json_text(std::string_view line, const std::string& field, const std::string& key) {
  if (line.size() > kLongestLine) fail(key, str("has ", line.size(), " bytes in one line"), "split it");
  const auto document = nlohmann::json::parse(line, nullptr, false);
  if (!document.is_object()) fail(key, "is no JSON object", "repair or remove the line");
  const auto found = document.find(field);
  if (found == document.end() || !found->is_string()) {
    std::vector<std::string> names;
    for (const auto& item : document.items()) names.push_back(item.key());
    fail(key, "has no text '" + field + "'",
         names.empty() ? "remove the line" : suggest(field, names) + " (?field=...)");
  }
  return found->get<std::string>();
}

struct TextDataset::Index {
  std::vector<io::MappedFile> files;
  std::vector<std::pair<uint32_t, DocumentPlace>> places;
};
struct TextDataset::Lazy {
  std::once_flag once;
  Index index;
};

TextDataset::TextDataset(std::vector<fs::path> files, TextRules rules, std::string uri)
    : files_(std::move(files)),
      rules_(std::move(rules)),
      uri_(std::move(uri)),
      lazy_(std::make_shared<Lazy>()) {}

const TextDataset::Index& TextDataset::index() const {
  std::call_once(lazy_->once, [this] {
    for (const auto& path : files_) {
      auto& all = lazy_->index;
      all.files.push_back(io::map_decompressed(path));
      const auto number = static_cast<uint32_t>(all.files.size() - 1);
      for (const auto& place : find_documents(all.files.back().bytes(), rules_, is_json_lines(path)))
        all.places.emplace_back(number, place);
    }
  });
  return lazy_->index;
}

int64_t TextDataset::size() const { return std::ssize(index().places); }

std::string_view TextDataset::raw(int64_t number) const {
  const auto& [file, place] = index().places[static_cast<size_t>(number)];
  return view_of(index().files[file].bytes()).substr(place.begin, place.end - place.begin);
}

std::string TextDataset::key(int64_t number) const {
  const auto& [file, place] = index().places[static_cast<size_t>(number)];
  return str(files_[file].string(), "#", place.begin);
}

Record TextDataset::get(int64_t number) const {
  Record record;
  record.key = key(number);
  const auto bytes = raw(number);
  if (!is_json_lines(files_[index().places[static_cast<size_t>(number)].first]))
    record.content = std::as_bytes(std::span(bytes));
  else if (is_dialogue(bytes))
    record.content = dialogue_text(bytes, record.key);
  else
    record.content = json_text(bytes, rules_.field, record.key);
  return record;
}

bool TextDataset::holds_dialogues() const {
  if (!is_json_lines(files_.front())) return false;
  const auto file = io::map_decompressed(files_.front());
  auto text = view_of(file.bytes());
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  return is_dialogue(text.substr(0, text.find('\n')));
}

namespace {

std::vector<fs::path> text_files_in(const fs::path& folder) {
  std::vector<fs::path> out;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(folder, error), last; !error && entry != last;
       entry.increment(error))
    if (entry->is_regular_file(error) && is_text_file(entry->path()) &&
        !entry->path().filename().string().starts_with("."))
      out.push_back(entry->path());
  if (error)
    fail(folder.string(), "can't be listed: " + error.message(), "make every folder below it readable");
  std::sort(out.begin(), out.end());
  return out;
}

/// Files by the split that their name, or their folder's, speaks of; all under "" when some speak of none.
std::map<std::string, std::vector<fs::path>> by_split(const fs::path& path) {
  if (!fs::is_directory(path)) return {{"", {path}}};
  std::map<std::string, std::vector<fs::path>> out;
  for (const auto& file : text_files_in(path)) {
    const auto relative = fs::relative(file, path);
    auto split = split_of_name(relative.begin()->stem().string());
    if (split.empty()) split = split_of_name(file.stem().string());
    const bool readme = file.stem() == "README";
    if (!readme) out[split].push_back(file);
  }
  if (out.count("") != 0 && out.size() > 1 && out.count("train") == 0) {
    auto all = text_files_in(path);
    std::erase_if(all, [](const fs::path& file) { return file.stem() == "README"; });
    return {{"", all}};
  }
  if (out.size() > 1) out.erase("");  // what lies beside the splits
  return out;
}

std::vector<std::string> splits_of(const fs::path& path) {
  std::vector<std::string> out;
  for (const auto& [name, files] : by_split(path))
    if (!name.empty()) out.push_back(name);
  return out;
}

std::shared_ptr<Dataset> open_text(Uri& uri) {
  const fs::path path = uri.path;
  if (!fs::exists(path)) fail(uri.path, "is not there", "check the path");
  TextRules rules;
  rules.field = uri.take("field", rules.field);
  rules.documents = uri.take("documents", rules.documents);
  if (rules.documents != "file" && rules.documents != "blank" && rules.documents != "line")
    fail("documents=" + rules.documents, "is not known", suggest(rules.documents, {"file", "blank", "line"}));
  const auto parts = by_split(path);
  const auto split = uri.take_split(splits_of(path));
  const auto found = parts.find(split);
  if (found == parts.end() || found->second.empty())
    fail(uri.path, "holds no text (txt, jsonl, each with .gz or .zst too)",
         "name a file, or a folder of such files");
  auto canonical = canonical_uri("text", path, split);
  const auto add = [&](const char* key, const std::string& value, const std::string& usual) {
    if (value != usual)
      canonical += str(canonical.find('?') == std::string::npos ? '?' : '&', key, "=", value);
  };
  add("field", rules.field, "text");
  add("documents", rules.documents, "file");
  return std::make_shared<TextDataset>(found->second, rules, canonical);
}

const Register<DatasetScheme> registered{
    "text",
    {"text:FILE|DIR?documents=file|blank|line&field=text",
     "texts: plain or JSON lines, .gz or .zst or neither; documents are files, paragraphs or lines",
     open_text, [](const Uri& uri) { return splits_of(uri.path); }}};

}  // namespace

std::shared_ptr<const text::Tokenizer> tokenizer_of(const TextConfig& config) {
  static std::mutex mutex;
  static std::map<std::string, std::shared_ptr<const text::Tokenizer>> open;
  const std::scoped_lock lock(mutex);
  auto& tokenizer = open[config.tokenizer];
  if (!tokenizer) tokenizer = text::open_tokenizer(config.tokenizer);
  return tokenizer;
}

int32_t mask_id(const text::Tokenizer& tokenizer) {
  return tokenizer.special().mask.value_or(tokenizer.vocab_size());
}

std::vector<int32_t> TextTransform::tokens(const Record& record) const {
  if (record.tokens) return *record.tokens;
  const auto tokenizer = tokenizer_of(config_);
  const auto special = tokenizer->special();
  std::vector<int32_t> out;
  if (config_.add_begin && special.begin) out.push_back(*special.begin);
  // A token has a byte at least: what lies far behind the row's end need not be read.
  constexpr size_t kLongestToken = 64;
  auto text = view_of(encoded_bytes(record));
  text = text.substr(0, static_cast<size_t>(length_) * kLongestToken);
  const auto ids = tokenizer->encode(text, false);
  out.insert(out.end(), ids.begin(), ids.end());
  if (config_.add_end && special.end) out.push_back(*special.end);
  return out;
}

class TextFilling final : public Filling {
 public:
  TextFilling(const TextTransform& transform, int64_t rows)
      : transform_(transform), tokens_(static_cast<size_t>(rows)), labels_(static_cast<size_t>(rows)) {}

  void fill(int64_t row, const Record& record, Stream /*random*/) override {
    const auto place = static_cast<size_t>(row);
    tokens_[place] = transform_.tokens(record);
    if (record.token_labels) labels_[place] = *record.token_labels;
    for (auto* list : {&tokens_[place], &labels_[place]})
      if (std::ssize(*list) > transform_.length_) list->resize(static_cast<size_t>(transform_.length_));
    if (tokens_[place].size() < 2) fail(record.key, "is an empty document", "remove it");
  }

  Batch finish(const std::vector<int64_t>& rows) override {
    Batch batch;
    batch.tokens = padded(tokens_, rows);
    const bool labelled = std::any_of(
        rows.begin(), rows.end(), [&](int64_t row) { return !labels_[static_cast<size_t>(row)].empty(); });
    if (labelled) batch.token_label = padded(labels_, rows);
    return batch;
  }

 private:
  /// [rows, longest] with -1 behind a row's end.
  static at::Tensor padded(const std::vector<std::vector<int32_t>>& lists, const std::vector<int64_t>& rows) {
    int64_t longest = 0;
    for (const auto row : rows)
      longest = std::max<int64_t>(longest, std::ssize(lists[static_cast<size_t>(row)]));
    auto out = at::full({std::ssize(rows), longest}, -1, at::kLong);
    auto* to = out.mutable_data_ptr<int64_t>();
    for (const auto row : rows) {
      const auto& list = lists[static_cast<size_t>(row)];
      std::copy(list.begin(), list.end(), to);
      to += longest;
    }
    return out;
  }

  const TextTransform& transform_;
  std::vector<std::vector<int32_t>> tokens_, labels_;
};

std::unique_ptr<Filling> TextTransform::begin(int64_t rows) const {
  return std::make_unique<TextFilling>(*this, rows);
}

std::shared_ptr<const Transform> TextTransform::evaluating() const {
  return std::make_shared<TextTransform>(*this);
}

}  // namespace lacuna::data
