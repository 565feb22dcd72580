#pragma once
// CLIP's tokenizer: lower-cased, cleaned, byte-level BPE with an end-of-word mark (Radford et al., ICML 2021;
// openai/CLIP simple_tokenizer.py).

#include <array>

#include "lacuna/text/regex.h"
#include "lacuna/text/tokenizer.h"

namespace lacuna::text {

/// What differs between users of this tokenizer.
struct ClipOptions {
  int32_t start = 49406, end = 49407;
  int32_t mask =
      -1;  ///< number of <|mask|> (GA-DMS: 49405, in the place of the last merge); -1: there is none
  bool lower = true;
};

class ClipTokenizer final : public Tokenizer {
 public:
  using Pair = std::array<int32_t, 2>;
  /// `byte_order[i]`: the byte of symbol i; symbol 256 + i is the same byte at a word's end. merges[k]: the
  /// two numbers that are joined to number 512 + k. Error when one of them is not below 512 + k.
  ClipTokenizer(const std::array<uint8_t, 256>& byte_order, const std::vector<Pair>& merges,
                const ClipOptions& options = {});
  /// The file of merges as OpenAI publishes it, .gz or not: a header, then two symbols a line, of which
  /// 48,894 count.
  static std::shared_ptr<const ClipTokenizer> open(const io::fs::path& path, const ClipOptions& options = {});

  Ids encode(std::string_view text, bool framed = true) const override;
  std::string decode(std::span<const int32_t> ids, bool special = false) const override;
  int32_t vocab_size() const override { return size_; }
  std::string piece(int32_t id) const override;
  std::optional<int32_t> id_of(std::string_view piece) const override;
  SpecialIds special() const override;
  std::string kind() const override;

  /// Start, tokens, end, then zeros up to `length`. A longer text is cut and its last place says end, or is
  /// an Error where `truncate` is false.
  Ids sequence(std::string_view text, int64_t length, bool truncate = true) const;
  /// What encode() makes of a text before it is split: repaired, HTML undone twice, blanks joined,
  /// lower-cased.
  std::string clean(std::string_view text) const;

 private:
  std::optional<int32_t> special_id(std::string_view word) const;

  ClipOptions options_;
  std::array<int32_t, 256> symbol_of_byte_;
  Merges merges_;
  std::vector<std::string> bytes_;  // of each token; an end-of-word mark is a blank behind it
  std::unordered_map<std::string, int32_t> ids_;
  int32_t size_ = 0;
  Regex split_;
};

}  // namespace lacuna::text
