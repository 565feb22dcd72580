#include "lacuna/text/train_bpe.h"

#include <algorithm>
#include <map>
#include <queue>
#include <set>

#include "lacuna/core/error.h"
#include "lacuna/text/byte_symbols.h"
#include "lacuna/text/merges.h"
#include "lacuna/text/pipeline.h"
#include "lacuna/text/unicode.h"

namespace lacuna::text {
namespace {

constexpr int32_t kBytes = 256;

using Pair = std::pair<int32_t, int32_t>;

struct PairHash {
  size_t operator()(const Pair& pair) const {
    return std::hash<uint64_t>{}(static_cast<uint64_t>(static_cast<uint32_t>(pair.first)) << 32 |
                                 static_cast<uint32_t>(pair.second));
  }
};

/// Words as lists of symbols, and where each pair of neighbours is.
class Joiner {
 public:
  Joiner(const std::vector<std::pair<std::string, int64_t>>& words,
         const std::unordered_map<std::string, int32_t>& ids) {
    for (const auto& [word, count] : words) {
      Ids symbols;
      for (size_t i = 0; i < word.size(); i += character_size(word[i]))
        symbols.push_back(ids.at(word.substr(i, character_size(word[i]))));
      words_.push_back(std::move(symbols));
      counts_.push_back(count);
    }
    for (size_t w = 0; w < words_.size(); ++w) count_pairs(w, counts_[w]);
    for (const auto& [pair, count] : pairs_) queue_.push({count, pair});
  }

  /// The most frequent pair and its count; a count of 0 when none is left.
  std::pair<Pair, int64_t> best() {
    while (!queue_.empty()) {
      const auto top = queue_.top();
      queue_.pop();
      const auto now = pairs_.at(top.pair);
      if (now == top.count) return {top.pair, now};
      if (now > 0) queue_.push({now, top.pair});  // it has become rarer since
    }
    return {{0, 0}, 0};
  }

  void join(const Pair& pair, int32_t joined) {
    const auto places = std::move(where_[pair]);
    where_.erase(pair);
    std::set<Pair> grown;
    for (const auto w : places) {
      count_pairs(w, -counts_[w]);
      replace(words_[w], pair, joined);
      count_pairs(w, counts_[w], &grown);
    }
    pairs_[pair] = 0;
    for (const auto& fresh : grown)
      if (fresh.first == joined || fresh.second == joined) queue_.push({pairs_[fresh], fresh});
  }

 private:
  struct Entry {
    int64_t count;
    Pair pair;
    bool operator<(const Entry& other) const {
      return count != other.count ? count < other.count : pair > other.pair;
    }
  };

  void count_pairs(size_t w, int64_t by, std::set<Pair>* seen = nullptr) {
    const auto& word = words_[w];
    for (size_t i = 0; i + 1 < word.size(); ++i) {
      const Pair pair{word[i], word[i + 1]};
      pairs_[pair] += by;
      if (by > 0) where_[pair].insert(static_cast<uint32_t>(w));
      if (seen) seen->insert(pair);
    }
  }

  static void replace(Ids& word, const Pair& pair, int32_t joined) {
    size_t kept = 0;
    for (size_t i = 0; i < word.size(); ++i) {
      const bool here = i + 1 < word.size() && word[i] == pair.first && word[i + 1] == pair.second;
      word[kept++] = here ? joined : word[i];
      i += here ? 1 : 0;
    }
    word.resize(kept);
  }

  std::vector<Ids> words_;
  std::vector<int64_t> counts_;
  std::unordered_map<Pair, int64_t, PairHash> pairs_;
  std::unordered_map<Pair, std::set<uint32_t>, PairHash> where_;
  std::priority_queue<Entry> queue_;
};

}  // namespace

void count_words(std::string_view text, WordCounts& counts) {
  static const auto split =
      make_pre_tokenizer({{"type", "ByteLevel"}, {"add_prefix_space", false}}, "GPT-2's pattern");
  for (auto& word : split({valid_utf8(text)}, true)) ++counts[std::move(word)];
}

nlohmann::json train_bpe(const WordCounts& words, const BpeTraining& training) {
  const auto first = static_cast<int32_t>(training.special.size());
  if (training.vocab_size < first + kBytes)
    fail(str("a vocabulary of ", training.vocab_size),
         str("has no room for ", first + kBytes, " bytes and special tokens"), "raise it");
  std::vector<std::string> pieces = training.special;
  std::unordered_map<std::string, int32_t> ids;
  for (int byte = 0; byte < kBytes; ++byte) {
    pieces.push_back(spell_bytes(std::string(1, static_cast<char>(byte))));
    ids[pieces.back()] = first + byte;
  }
  // Sorted: a table's order is another in every library.
  std::vector<std::pair<std::string, int64_t>> sorted(words.begin(), words.end());
  std::sort(sorted.begin(), sorted.end());
  Joiner joiner(sorted, ids);
  json merges = json::array();
  while (static_cast<int64_t>(pieces.size()) < training.vocab_size) {
    const auto [pair, count] = joiner.best();
    if (count < std::max<int64_t>(1, training.min_frequency)) break;
    const auto &left = pieces[static_cast<size_t>(pair.first)],
               &right = pieces[static_cast<size_t>(pair.second)];
    const auto whole = left + right;
    merges.push_back(left + " " + right);
    const auto [found, fresh] = ids.try_emplace(whole, static_cast<int32_t>(pieces.size()));
    if (fresh) pieces.push_back(whole);
    joiner.join(pair, found->second);
  }
  json vocab = json::object(), added = json::array();
  for (size_t id = 0; id < pieces.size(); ++id) vocab[pieces[id]] = id;
  for (int32_t id = 0; id < first; ++id)
    added.push_back({{"id", id},
                     {"content", training.special[static_cast<size_t>(id)]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  const json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"post_processor", nullptr},
          {"decoder", byte_level},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", false},
            {"vocab", vocab},
            {"merges", merges}}}};
}

}  // namespace lacuna::text
