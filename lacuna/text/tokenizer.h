#pragma once
// Texts as numbers and back. Files of the ecosystem are opened by open_tokenizer.

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lacuna/io/file.h"
#include "lacuna/text/merges.h"

namespace lacuna::text {

/// Tokens with a meaning of their own; what a vocabulary lacks is empty.
struct SpecialIds {
  std::optional<int32_t> unknown, begin, end, pad, mask;
};

/// A vocabulary and its rules. All members may be called from several threads at once.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  /// Numbers of a text's tokens. Bytes that are no UTF-8 are read as U+FFFD. `framed`: with the tokens that
  /// the tokenizer's own rules put around a text (begin, end).
  virtual Ids encode(std::string_view text, bool framed = true) const = 0;
  /// The text of tokens; `special`: with the special ones. Error for a number outside the vocabulary.
  virtual std::string decode(std::span<const int32_t> ids, bool special = false) const = 0;
  /// Numbers are below this; a vocabulary may have holes.
  virtual int32_t vocab_size() const = 0;
  /// A token as it stands in the vocabulary; "" for a hole.
  virtual std::string piece(int32_t id) const = 0;
  virtual std::optional<int32_t> id_of(std::string_view piece) const = 0;
  virtual SpecialIds special() const = 0;
  virtual std::string kind() const = 0;  ///< one line for people: "byte-level BPE, 50,257 tokens"
};

/// Opens tokenizer.json (Hugging Face), *.model (sentencepiece), CLIP's list of merges (bpe_*.txt or
/// .txt.gz), or a folder that holds one of these; "bytes" (byte_tokenizer) needs no file. Error when there is
/// none, or it is broken.
std::shared_ptr<const Tokenizer> open_tokenizer(const io::fs::path& path);

/// The special tokens that a vocabulary's usual names tell: <s>, </s>, [CLS], [SEP], <|endoftext|>, <pad>,
/// [MASK], ...
SpecialIds special_by_name(const Tokenizer& tokenizer);

/// Error: a number that is not in the vocabulary.
[[noreturn]] void fail_unknown_id(int32_t id, int32_t vocab_size);

}  // namespace lacuna::text
