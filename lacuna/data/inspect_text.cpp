// lacuna inspect of texts: documents, characters, words, lines, bytes that are no UTF-8, the commonest words.

#include <algorithm>
#include <map>

#include "lacuna/core/error.h"
#include "lacuna/data/inspect.h"
#include "lacuna/data/tokens.h"
#include "lacuna/text/unicode.h"

namespace lacuna::data {
namespace {

constexpr size_t kListed = 20;

struct Counts {
  int64_t documents = 0, bytes = 0, characters = 0, words = 0, lines = 0, invalid = 0;
  std::vector<int64_t> lengths;              // of documents, in characters
  std::map<std::string, int64_t> frequency;  // of words, lower-cased
  std::vector<std::string> broken;
};

void count_text(std::string_view text, Counts& counts) {
  counts.documents += 1;
  counts.bytes += std::ssize(text);
  counts.invalid += text::is_utf8(text) ? 0 : 1;
  std::string word;
  int64_t characters = 0;
  const auto end_word = [&] {
    if (word.empty()) return;
    ++counts.words;
    ++counts.frequency[text::lower(word)];
    word.clear();
  };
  for (const auto code : text::code_points(text)) {
    ++characters;
    if (code == U'\n') ++counts.lines;
    if (text::is_space(code))
      end_word();
    else
      text::append(word, code);
  }
  end_word();
  counts.characters += characters;
  counts.lengths.push_back(characters);
}

Inspection of_tokens(const TokensDataset& dataset) {
  const auto& file = *dataset.file();
  Inspection out;
  out.json = {{"uri", dataset.uri()},
              {"tokens", file.size()},
              {"bytes_per_token", file.bytes_per_token()},
              {"about", file.about()},
              {"count", dataset.size()}};
  out.text = str("data       ", dataset.uri(), "\ntokens     ", file.size(), ", ", file.bytes_per_token(),
                 " bytes each\ndocuments  ", file.about().value("documents", int64_t{0}), "\ntokenizer  ",
                 file.about().value("tokenizer", std::string("not known")), "\nsource     ",
                 file.about().value("source", std::string("not known")));
  return out;
}

Inspection inspect(const Dataset& dataset, int64_t limit, int64_t /*workers*/) {
  if (const auto* tokens = dynamic_cast<const TokensDataset*>(&dataset)) return of_tokens(*tokens);
  Counts counts;
  const int64_t all = dataset.size(), read = limit > 0 ? std::min(limit, all) : all;
  for (int64_t i = 0; i < read; ++i) try {
      const auto record = dataset.get(i * all / std::max<int64_t>(1, read));
      const auto bytes = encoded_bytes(record);
      count_text({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, counts);
    } catch (const Error& error) {
      if (counts.broken.size() < kListed) counts.broken.emplace_back(error.what());
    }
  std::vector<std::pair<int64_t, std::string>> common;
  for (const auto& [word, number] : counts.frequency) common.emplace_back(-number, word);
  const auto shown = std::min(kListed, common.size());
  std::partial_sort(common.begin(), common.begin() + static_cast<std::ptrdiff_t>(shown), common.end());
  common.resize(shown);
  std::sort(counts.lengths.begin(), counts.lengths.end());
  Inspection out;
  out.json = {{"uri", dataset.uri()},
              {"count", all},
              {"read", counts.documents},
              {"bytes", counts.bytes},
              {"characters", counts.characters},
              {"words", counts.words},
              {"different_words", counts.frequency.size()},
              {"lines", counts.lines},
              {"invalid_utf8", counts.invalid},
              {"broken_count", counts.broken.size()},
              {"broken", counts.broken}};
  std::string words;
  for (const auto& [number, word] : common) words += str(words.empty() ? "" : ", ", word, " (", -number, ")");
  out.text = str("data       ", dataset.uri(), "\ndocuments  ", all, "\n");
  if (!counts.lengths.empty()) {
    out.json["median_characters"] = counts.lengths[counts.lengths.size() / 2];
    out.json["max_characters"] = counts.lengths.back();
    out.text += str("length     ", counts.lengths.front(), " to ", counts.lengths.back(),
                    " characters, median ", counts.lengths[counts.lengths.size() / 2], "\n");
  }
  out.text += str("characters ", counts.characters, " in ", counts.bytes, " bytes\nwords      ", counts.words,
                  ", ", counts.frequency.size(), " different\nlines      ", counts.lines, "\ncommonest  ",
                  words, "\nno UTF-8   ", counts.invalid, "\nbroken     ", counts.broken.size());
  for (const auto& why : counts.broken) out.text += "\n           " + why;
  return out;
}

const Register<Inspector> registered{"text", {inspect}};

}  // namespace
}  // namespace lacuna::data
