#include "lacuna/data/tokens.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>

#include "lacuna/core/error.h"
#include "lacuna/data/parallel.h"
#include "lacuna/io/compressed.h"

namespace lacuna::data {

namespace fs = io::fs;

namespace {

constexpr std::string_view kMagic = "LACTOKS1", kPackedMagic = "LITPKDS";
constexpr size_t kHeader = 16, kPackedHeader = 24, kTrailer = 16;
constexpr size_t kPiece = size_t{1} << 20;   // bytes of a long document that are encoded in one go
constexpr size_t kRound = size_t{16} << 20;  // bytes of text that are in work

template <class T>
T number_at(io::Bytes bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

bool starts_with(io::Bytes bytes, std::string_view magic) {
  return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

template <class T>
io::Bytes bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

}  // namespace

TokenFile::TokenFile(const fs::path& path) : TokenFile(io::MappedFile(path), path.string()) {}

TokenFile::TokenFile(io::MappedFile file, const std::string& name) : file_(std::move(file)), name_(name) {
  if (starts_with(file_.bytes(), kMagic))
    open_own();
  else if (starts_with(file_.bytes(), kPackedMagic))
    open_packed();
  else
    fail(name_, "is no file of tokens", "write one: lacuna data tokenize");
}

void TokenFile::open_own() {
  const auto bytes = file_.bytes();
  const auto broken = [&](const char* why) { fail(name_, why, "write it again: lacuna data tokenize"); };
  if (bytes.size() < kHeader + kTrailer ||
      std::memcmp(bytes.data() + bytes.size() - kMagic.size(), kMagic.data(), kMagic.size()) != 0)
    broken("is cut short");
  width_ = number_at<uint32_t>(bytes, kMagic.size());
  const auto about = number_at<uint64_t>(bytes, bytes.size() - kTrailer);
  if ((width_ != 2 && width_ != 4) || about > bytes.size() - kHeader - kTrailer) broken("is broken");
  const size_t end = bytes.size() - kTrailer - static_cast<size_t>(about);
  if ((end - kHeader) % static_cast<size_t>(width_) != 0) broken("is broken");
  begin_ = kHeader;
  size_ = static_cast<int64_t>(end - kHeader) / width_;
  const auto* text = reinterpret_cast<const char*>(bytes.data()) + end;
  about_ = Json::parse(text, text + about, nullptr, false);
  if (!about_.is_object()) broken("is broken");
}

void TokenFile::open_packed() {
  const auto bytes = file_.bytes();
  constexpr uint8_t kInt32 = 4, kUint16 = 8;  // lit_gpt/packed_dataset.py
  if (bytes.size() < kPackedHeader) fail(name_, "is cut short", "fetch it again");
  const auto code = number_at<uint8_t>(bytes, kPackedMagic.size() + 8);
  if (code != kInt32 && code != kUint16)
    fail(name_, str("holds numbers of the kind ", int{code}), "pack tokens as uint16 or int32");
  width_ = code == kInt32 ? 4 : 2;
  begin_ = kPackedHeader;
  size_ = static_cast<int64_t>(bytes.size() - kPackedHeader) / width_;
}

int32_t TokenFile::at(int64_t index) const {
  const size_t place = begin_ + static_cast<size_t>(index * width_);
  return width_ == 2 ? number_at<uint16_t>(file_.bytes(), place) : number_at<int32_t>(file_.bytes(), place);
}

std::vector<int32_t> TokenFile::read(int64_t begin, int64_t end) const {
  std::vector<int32_t> out(static_cast<size_t>(end - begin));
  for (int64_t i = begin; i < end; ++i) out[static_cast<size_t>(i - begin)] = at(i);
  return out;
}

bool is_token_file(const fs::path& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error) || fs::file_size(path, error) < kHeader) return false;
  const io::MappedFile file(path);
  return starts_with(file.bytes(), kMagic) || starts_with(file.bytes(), kPackedMagic);
}

namespace {

/// Adds a document in pieces of about kPiece bytes that end with a line; a line longer than that is cut at a
/// blank.
void add_pieces(std::string_view text, std::vector<TextPiece>& out) {
  for (size_t at = 0; at < text.size();) {
    size_t end = text.size();
    if (text.size() - at > 2 * kPiece) {
      const auto line = text.find('\n', at + kPiece);
      end = line < at + 2 * kPiece ? line + 1 : std::min(text.find(' ', at + kPiece), text.size());
    }
    out.push_back({text.substr(at, end - at), at == 0, end == text.size()});
    at = end;
  }
}

std::string_view view_of(io::Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// One file after the other; only one is mapped at a time.
class FileSource {
 public:
  explicit FileSource(std::shared_ptr<const TextDataset> texts) : texts_(std::move(texts)) {}

  bool operator()(std::vector<TextPiece>& out) {
    out.clear();
    own_.clear();
    size_t bytes = 0;
    while (bytes < kRound) {
      if (next_ == places_.size()) {
        if (!out.empty()) return true;  // its views end with this file
        if (!open_next()) return false;
        continue;
      }
      const auto place = places_[next_++];
      auto text = view_of(file_->bytes()).substr(place.begin, place.end - place.begin);
      bytes += text.size();
      if (json_) {
        own_.push_back(std::make_unique<std::string>(json_text(
            text, texts_->rules().field, str(texts_->files()[number_ - 1].string(), "#", place.begin))));
        text = *own_.back();
      }
      add_pieces(text, out);
    }
    return true;
  }

 private:
  bool open_next() {
    if (number_ == texts_->files().size()) return false;
    const auto& path = texts_->files()[number_++];
    json_ = is_json_lines(path);
    file_ = io::map_decompressed(path);
    places_ = find_documents(file_->bytes(), texts_->rules(), json_);
    next_ = 0;
    return true;
  }

  std::shared_ptr<const TextDataset> texts_;
  std::optional<io::MappedFile> file_;
  std::vector<DocumentPlace> places_;
  std::vector<std::unique_ptr<std::string>> own_;
  size_t number_ = 0, next_ = 0;
  bool json_ = false;
};

/// Any other set of texts, record by record.
class RecordSource {
 public:
  explicit RecordSource(std::shared_ptr<const Dataset> dataset) : dataset_(std::move(dataset)) {}

  bool operator()(std::vector<TextPiece>& out) {
    out.clear();
    records_.clear();
    size_t bytes = 0;
    for (; bytes < kRound && next_ < dataset_->size(); ++next_) {
      records_.push_back(std::make_unique<Record>(dataset_->get(next_)));
      const auto text = view_of(encoded_bytes(*records_.back()));
      bytes += text.size();
      add_pieces(text, out);
    }
    return !out.empty();
  }

 private:
  std::shared_ptr<const Dataset> dataset_;
  std::vector<std::unique_ptr<Record>> records_;
  int64_t next_ = 0;
};

void append_tokens(const std::vector<int32_t>& ids, uint32_t width, std::vector<std::byte>& out) {
  for (const int32_t id : ids) {
    const auto small = static_cast<uint16_t>(id);
    const auto bytes = width == 2 ? bytes_of(small) : bytes_of(id);
    out.insert(out.end(), bytes.begin(), bytes.end());
  }
}

std::vector<int32_t> piece_tokens(const text::Tokenizer& tokenizer, const TextPiece& piece,
                                  const TextConfig& config) {
  const auto special = tokenizer.special();
  auto ids = tokenizer.encode(piece.text, false);
  if (piece.begins && config.add_begin && special.begin) ids.insert(ids.begin(), *special.begin);
  if (piece.ends && config.add_end && special.end) ids.push_back(*special.end);
  return ids;
}

}  // namespace

TextSource text_source(std::shared_ptr<const Dataset> dataset) {
  if (auto texts = std::dynamic_pointer_cast<const TextDataset>(dataset))
    if (!texts->holds_dialogues())
      return [source = std::make_shared<FileSource>(texts)](auto& out) { return (*source)(out); };
  return [source = std::make_shared<RecordSource>(std::move(dataset))](auto& out) { return (*source)(out); };
}

TokenizeReport tokenize(const TextSource& source, const TextConfig& config, const std::string& origin,
                        const TokenizeOptions& options, const std::function<void(io::Bytes)>& sink) {
  const auto tokenizer = tokenizer_of(config);
  const int64_t vocabulary = std::max(tokenizer->vocab_size(), mask_id(*tokenizer) + 1);
  const uint32_t width = vocabulary <= 1 << 16 ? 2 : 4, zero = 0;
  sink(std::as_bytes(std::span(kMagic)));
  sink(bytes_of(width));
  sink(bytes_of(zero));
  TokenizeReport report;
  std::vector<TextPiece> pieces;
  while (source(pieces)) {
    std::vector<std::vector<int32_t>> ids(pieces.size());
    parallel(std::ssize(pieces), std::max<int64_t>(1, options.workers), [&](int64_t i) {
      const auto place = static_cast<size_t>(i);
      ids[place] = piece_tokens(*tokenizer, pieces[place], config);
    });
    std::vector<std::byte> bytes;
    for (size_t i = 0; i < pieces.size(); ++i) {
      append_tokens(ids[i], width, bytes);
      report.tokens += std::ssize(ids[i]);
      report.documents += pieces[i].begins ? 1 : 0;
      report.bytes += std::ssize(pieces[i].text);
    }
    sink(bytes);
    if (options.progress) options.progress(report);
  }
  const std::string about = Json{
      {"tokenizer", config.tokenizer},
      {"vocab_size", tokenizer->vocab_size()},
      {"documents", report.documents},
      {"bytes", report.bytes},
      {"source", origin}}.dump();
  const auto size = static_cast<uint64_t>(about.size());
  sink(std::as_bytes(std::span(about)));
  sink(bytes_of(size));
  sink(std::as_bytes(std::span(kMagic)));
  return report;
}

std::shared_ptr<const TokenFile> tokenize(const std::shared_ptr<const Dataset>& dataset,
                                          const TextConfig& config, const TokenizeOptions& options) {
  const auto file = io::map_pieces([&](const std::function<void(io::Bytes)>& sink) {
    tokenize(text_source(dataset), config, dataset->uri(), options, sink);
  });
  return std::make_shared<TokenFile>(file, dataset->uri());
}

int64_t TokensDataset::size() const {
  const int64_t whole = file_->size() / block_;
  return whole + (file_->size() - whole * block_ >= 2 ? 1 : 0);
}

Record TokensDataset::get(int64_t index) const {
  Record record;
  record.key = str(uri_, "#", index);
  const int64_t begin = index * block_;
  record.tokens = std::make_shared<const std::vector<int32_t>>(
      file_->read(begin, std::min(begin + block_, file_->size())));
  return record;
}

namespace {

std::shared_ptr<Dataset> open_tokens(Uri& uri) {
  constexpr int64_t kUsual = 2049;
  uri.take("split", "");  // a file is one split
  int64_t block = kUsual;
  if (const auto given = uri.take("block", ""); !given.empty()) {
    block = std::atoll(given.c_str());
    if (block < 2) fail("block=" + given, "is no number of tokens", "use 2 or more");
  }
  return std::make_shared<TokensDataset>(std::make_shared<TokenFile>(fs::path(uri.path)), block,
                                         canonical_uri("tokens", uri.path, ""));
}

const Register<DatasetScheme> registered{
    "tokens",
    {"tokens:FILE?block=2049",
     "tokens of texts in a mapped file (lacuna data tokenize), or TinyLlama's packed files", open_tokens}};

}  // namespace
}  // namespace lacuna::data
