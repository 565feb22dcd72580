#pragma once
// Training of byte-level BPE vocabularies (GPT-2's kind).

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace lacuna::text {

struct BpeTraining {
  int64_t vocab_size = 8192;                                  ///< special tokens and the 256 bytes included
  int64_t min_frequency = 2;                                  ///< pairs seen less often are not joined
  std::vector<std::string> special{"<s>", "</s>", "[MASK]"};  ///< numbers 0, 1, ...
};

/// How often each word of some texts occurs; words as GPT-2's pattern splits them, in byte symbols.
using WordCounts = std::unordered_map<std::string, int64_t>;
void count_words(std::string_view text, WordCounts& counts);

/// The document of a tokenizer.json. The most frequent pair is joined again and again, of equal ones that of
/// the lowest numbers: the same words give the same vocabulary, whatever order or threads they came by. Error
/// when vocab_size leaves no room for the bytes.
nlohmann::json train_bpe(const WordCounts& words, const BpeTraining& training);

}  // namespace lacuna::text
