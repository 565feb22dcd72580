#pragma once
// Texts as numbers in a mapped file, and cut into blocks.
//
// A token file: "LACTOKS1", uint32 bytes of a token (2 or 4), uint32 0, the tokens, a JSON document that says
// what they are, its length (uint64), "LACTOKS1". Also read: TinyLlama's and MEAP's packed files ("LITPKDS",
// tokens of 2 or 4 bytes).

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lacuna/data/text.h"

namespace lacuna::data {

/// Tokens in a mapped file.
class TokenFile {
 public:
  explicit TokenFile(const io::fs::path& path);
  TokenFile(io::MappedFile file, const std::string& name);
  int64_t size() const { return size_; }  ///< tokens
  int32_t at(int64_t index) const;
  std::vector<int32_t> read(int64_t begin, int64_t end) const;
  /// What wrote it: "tokenizer", "vocab_size", "documents", "bytes" (of text), "source"; {} for a packed file
  /// of others.
  const Json& about() const { return about_; }
  int64_t bytes_per_token() const { return width_; }

 private:
  void open_own();
  void open_packed();

  io::MappedFile file_;
  std::string name_;
  size_t begin_ = 0;
  int64_t size_ = 0, width_ = 2;
  Json about_ = Json::object();
};
bool is_token_file(const io::fs::path& path);  ///< by its first bytes

/// A text and where it stands in its document.
struct TextPiece {
  std::string_view text;
  bool begins = true, ends = true;  ///< the document
};
/// Fills a list with the next pieces, some MB of them; false at the end. They live until it is called again.
using TextSource = std::function<bool(std::vector<TextPiece>&)>;
/// Of a set of texts, whatever it is. Documents of many MB come in pieces that end with a line.
TextSource text_source(std::shared_ptr<const Dataset> dataset);

struct TokenizeReport {
  int64_t documents = 0, tokens = 0, bytes = 0;
};
struct TokenizeOptions {
  int64_t workers = 2;
  std::function<void(const TokenizeReport& so_far)> progress = nullptr;  ///< called now and then; may throw
};
/// Writes the tokens of all documents, one behind the other, to `sink`, in the layout of a token file: <s>
/// and </s> as the config says. Memory: some MB a worker. Workers change nothing.
TokenizeReport tokenize(const TextSource& source, const TextConfig& config, const std::string& origin,
                        const TokenizeOptions& options, const std::function<void(io::Bytes)>& sink);
/// The same in a temporary file that is gone with the last copy.
std::shared_ptr<const TokenFile> tokenize(const std::shared_ptr<const Dataset>& dataset,
                                          const TextConfig& config, const TokenizeOptions& options);

/// tokens:FILE, opened.
class TokensDataset final : public Dataset {
 public:
  TokensDataset(std::shared_ptr<const TokenFile> file, int64_t block, std::string uri)
      : file_(std::move(file)), block_(block), uri_(std::move(uri)) {}
  /// Blocks: record i holds tokens i * block .. (i + 1) * block; the last what is left, if that is two or
  /// more.
  int64_t size() const override;
  Record get(int64_t index) const override;
  int64_t label(int64_t /*index*/) const override { return kNoLabel; }
  std::vector<std::string> classes() const override { return {}; }
  std::string uri() const override { return uri_; }
  std::string modality() const override { return "text"; }
  const std::shared_ptr<const TokenFile>& file() const { return file_; }

 private:
  std::shared_ptr<const TokenFile> file_;
  int64_t block_;
  std::string uri_;
};

}  // namespace lacuna::data
