#pragma once
// Texts: files of documents, their tokens in mapped files, rows of tokens for a model.

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lacuna/data/dataset.h"
#include "lacuna/data/input.h"
#include "lacuna/data/text_config.h"
#include "lacuna/text/tokenizer.h"

namespace lacuna::data {

/// What is a document in a text file.
struct TextRules {
  std::string field = "text";      ///< JSON lines: where the text is
  std::string documents = "file";  ///< file | blank (paragraphs between empty lines) | line
};

/// A document in mapped bytes: [begin, end); of JSON lines the whole line.
struct DocumentPlace {
  size_t begin, end;
};
/// All documents of a file's bytes, in order; those of blanks alone are left out. `json`: a document a line.
std::vector<DocumentPlace> find_documents(io::Bytes bytes, const TextRules& rules, bool json);
/// The text of a line of JSON lines; Error naming `key` when there is no such field.
std::string json_text(std::string_view line, const std::string& field, const std::string& key);

/// text:FILE|DIR, opened: files of documents, compressed or not. They are looked into only when records are
/// asked for.
class TextDataset final : public Dataset {
 public:
  TextDataset(std::vector<io::fs::path> files, TextRules rules, std::string uri);
  int64_t size() const override;
  Record get(int64_t index) const override;
  int64_t label(int64_t /*index*/) const override { return kNoLabel; }
  std::vector<std::string> classes() const override { return {}; }
  std::string uri() const override { return uri_; }
  std::string modality() const override { return "text"; }

  const std::vector<io::fs::path>& files() const { return files_; }
  const TextRules& rules() const { return rules_; }
  std::string_view raw(int64_t index) const;  ///< bytes of a record as they stand in its file
  std::string key(int64_t index) const;
  /// Whether the first record is a dialogue (data/dialogue_files.h).
  bool holds_dialogues() const;

 private:
  struct Index;
  const Index& index() const;

  std::vector<io::fs::path> files_;
  TextRules rules_;
  std::string uri_;
  struct Lazy;
  std::shared_ptr<Lazy> lazy_;
};

/// Whether a file's name ends as one of JSON lines does, compressed or not.
bool is_json_lines(const io::fs::path& path);
/// txt, text, md, jsonl, ndjson, each with .gz or .zst too.
bool is_text_file(const io::fs::path& path);

/// The tokenizer of a config; opened once for each path.
std::shared_ptr<const text::Tokenizer> tokenizer_of(const TextConfig& config);
/// The number of [MASK]: the vocabulary's own, else the first behind it.
int32_t mask_id(const text::Tokenizer& tokenizer);

/// Each record one row of at most `length` tokens: those it holds, or its text's (text.add_begin,
/// text.add_end).
class TextTransform final : public Transform {
 public:
  TextTransform(const TextConfig& config, int64_t length) : config_(config), length_(length) {}
  std::unique_ptr<Filling> begin(int64_t rows) const override;
  std::shared_ptr<const Transform> evaluating() const override;
  /// Tokens of a record, begin and end included.
  std::vector<int32_t> tokens(const Record& record) const;

 private:
  friend class TextFilling;
  TextConfig config_;
  int64_t length_;
};

}  // namespace lacuna::data
