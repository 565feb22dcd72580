// Tokenizers: round trips, figures of Hugging Face's `tokenizers` 0.23 and of Python's `html`, hostile files.

#include "lacuna/text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "lacuna/core/error.h"
#include "lacuna/text/byte_symbols.h"
#include "lacuna/text/clip.h"
#include "lacuna/text/huggingface.h"
#include "lacuna/text/merges.h"
#include "lacuna/text/pipeline.h"
#include "lacuna/text/repair.h"
#include "lacuna/text/train_bpe.h"
#include "lacuna/text/unicode.h"

namespace lacuna::text {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Merges, TheLowestRankComesFirst) {
  Merges merges;
  merges.add(1, 2, 10);
  merges.add(2, 3, 11);
  merges.add(10, 3, 12);
  Ids short_one{1, 2, 3, 2, 3};
  merges.apply(short_one);
  EXPECT_THAT(short_one, ElementsAre(12, 11));
}

TEST(Merges, LongAndShortWordsAreJoinedAlike) {
  Merges merges;
  for (int32_t i = 0; i < 4; ++i)
    for (int32_t k = 0; k < 4; ++k) merges.add(i, (k + i) % 4, 4 + ((3 * i + k) % 7));
  merges.add(5, 6, 11);
  merges.add(6, 4, 12);
  merges.add(11, 12, 13);
  // A long word, and the same as the short words that it falls into: 99 joins with nothing.
  Ids whole, parts;
  for (int32_t word = 0; word < 40; ++word) {
    Ids piece;
    for (int32_t i = 0; i < 20; ++i) piece.push_back((i * i + word * 7 + i / 3) % 4);
    piece.push_back(99);
    whole.insert(whole.end(), piece.begin(), piece.end());
    merges.apply(piece);
    parts.insert(parts.end(), piece.begin(), piece.end());
  }
  merges.apply(whole);
  EXPECT_EQ(whole, parts);
  EXPECT_LT(whole.size(), 600u);
}

TEST(Unicode, BytesThatAreNoUtf8AreReplacedAsPythonDoesIt) {
  EXPECT_EQ(valid_utf8("a\xF0\x9F\x99z\xC3"), "a\uFFFDz\uFFFD");
  EXPECT_EQ(valid_utf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(strip("\u3000 a b\t\n"), "a b");
  EXPECT_EQ(collapse_spaces(" a \t\u00A0b"), " a b");
  EXPECT_EQ(lower("ÀΣ"), "àς");
}

TEST(Repair, HtmlReferences) {
  EXPECT_EQ(html_unescape("&lt;b&gt; &amp;amp; &#39;&#x27;"), "<b> &amp; ''");
  EXPECT_EQ(html_unescape("&notit; &notin; &ampx &unknown;"), "\u00ACit; \u2209 &x &unknown;");
  EXPECT_EQ(html_unescape("&#128; &#0; &#xD800; &#1;x &#99999999999;"), "\u20AC \uFFFD \uFFFD x \uFFFD");
}

TEST(Repair, BytesThatAreNoUtf8AreNoDanger) {  // found by fuzzing
  EXPECT_EQ(html_unescape("&am\xF0\x9F&lt;\xE2"), "&am\uFFFD<\uFFFD");
  EXPECT_EQ(fix_text("\xC3&amp;\xF0"), "\uFFFD&\uFFFD");
}

TEST(Repair, TextsFromTheWeb) {  // the right sides are ftfy 6.3.1's
  EXPECT_EQ(fix_text("schÃ¶n â€œquotedâ€\u009D â€¦"), "schön \"quoted\" …");
  EXPECT_EQ(fix_text("ﬁne ﬂuﬃer Ｌｏｕｄ　ﾀ"), "fine fluffier Loud タ");
  EXPECT_EQ(fix_text("it\u2019s\r\nok\rnow\x1B[31m!\x07"), "it's\nok\nnow!");
  EXPECT_EQ(fix_text("P&EACUTE;REZ &eacute; &amp;lt;"), "PÉREZ é <");
  EXPECT_EQ(fix_text("naïve café — façade … ½ ™ CAFÉ”"), "naïve café — façade … ½ ™ CAFÉ\"");
  EXPECT_EQ(fix_text("日本語 и русский 🙂"), "日本語 и русский 🙂");
}

/// A byte-level vocabulary of the 256 symbols and some merges, as GPT-2's.
json byte_level(const std::vector<std::pair<std::string, std::string>>& merges) {
  json vocab = json::object(), list = json::array();
  int32_t next = 0;
  for (int byte = 0; byte < 256; ++byte) vocab[spell_bytes(std::string(1, static_cast<char>(byte)))] = next++;
  for (const auto& [left, right] : merges) {
    vocab[left + right] = next++;
    list.push_back(left + " " + right);
  }
  return {
      {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", list}}},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
      {"decoder", {{"type", "ByteLevel"}}},
      {"added_tokens",
       {{{"id", 300}, {"content", "<|end|>"}, {"special", true}, {"normalized", false}},
        {{"id", 301}, {"content", "<mask>"}, {"special", true}, {"lstrip", true}, {"normalized", false}}}}};
}

TEST(HuggingFace, ByteLevelRoundTripsAnyText) {
  const auto tokenizer =
      from_huggingface(byte_level({{"h", "e"}, {"l", "l"}, {"he", "ll"}, {"\u0120", "w"}}), "test");
  EXPECT_THAT(tokenizer->encode("hello world"), ElementsAre(258, 111, 259, 111, 114, 108, 100));
  for (const char* text : {"", "hello  world\n\n\t x", "naïve 中 🙂", " '", "it's 12"})
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("a\xFFz")), "a\uFFFDz");
}

TEST(HuggingFace, AddedTokensComeFirst) {
  const auto tokenizer = from_huggingface(byte_level({}), "test");
  const auto ids = tokenizer->encode("x  <mask>y<|end|>");
  EXPECT_THAT(ids, ElementsAre(120, 301, 121, 300));  // lstrip takes the blanks
  EXPECT_EQ(tokenizer->decode(ids), "xy");
  EXPECT_EQ(tokenizer->decode(ids, true), "x<mask>y<|end|>");
  EXPECT_EQ(tokenizer->vocab_size(), 302);
  EXPECT_EQ(tokenizer->special().mask, 301);
}

TEST(HuggingFace, WordPiece) {
  const json vocab = {{"[UNK]", 0},  {"[CLS]", 1}, {"[SEP]", 2}, {"un", 3},   {"##aff", 4},
                      {"##able", 5}, {"hello", 6}, {"!", 7},     {"cafe", 8}, {"中", 9}};
  const json document = {
      {"model", {{"type", "WordPiece"}, {"vocab", vocab}, {"unk_token", "[UNK]"}}},
      {"normalizer", {{"type", "BertNormalizer"}, {"lowercase", true}}},
      {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
      {"post_processor",
       {{"type", "BertProcessing"}, {"sep", json::array({"[SEP]", 2})}, {"cls", json::array({"[CLS]", 1})}}},
      {"decoder", {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}}},
      {"added_tokens",
       {{{"id", 1}, {"content", "[CLS]"}, {"special", true}},
        {{"id", 2}, {"content", "[SEP]"}, {"special", true}}}}};
  const auto tokenizer = from_huggingface(document, "test");
  EXPECT_THAT(tokenizer->encode("Hello, UNaffable Café! 中x"), ElementsAre(1, 6, 0, 3, 4, 5, 8, 7, 9, 0, 2));
  EXPECT_THAT(tokenizer->encode("hello!", false), ElementsAre(6, 7));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("hello unaffable!")), "hello unaffable!");
}

TEST(HuggingFace, SplitsKeepOrDropWhatTheyFind) {
  const auto split = [](const json& part, const std::string& text) {
    return make_pre_tokenizer(part, "test")({text}, true);
  };
  const auto with = [&](const char* behaviour) {
    return split({{"type", "Split"}, {"pattern", {{"String", "-"}}}, {"behavior", behaviour}},
                 "the-final--countdown");
  };
  EXPECT_THAT(with("Removed"), ElementsAre("the", "final", "countdown"));
  EXPECT_THAT(with("Isolated"), ElementsAre("the", "-", "final", "-", "-", "countdown"));
  EXPECT_THAT(with("MergedWithPrevious"), ElementsAre("the-", "final-", "-", "countdown"));
  EXPECT_THAT(with("MergedWithNext"), ElementsAre("the", "-final", "-", "-countdown"));
  EXPECT_THAT(with("Contiguous"), ElementsAre("the", "-", "final", "--", "countdown"));
  EXPECT_THAT(split({{"type", "Whitespace"}}, "a b, c"), ElementsAre("a", "b", ",", "c"));
  EXPECT_THAT(split({{"type", "Digits"}, {"individual_digits", true}}, "ab12"), ElementsAre("ab", "1", "2"));
  EXPECT_THAT(split({{"type", "Metaspace"}}, "a bc"), ElementsAre("▁a", "▁bc"));
}

TEST(HuggingFace, HostileFilesAreRefused) {
  const auto refusal = [](json document) {
    try {
      from_huggingface(document, "file");
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_THAT(refusal(json::array()), HasSubstr("is no tokenizer.json"));
  EXPECT_THAT(refusal({{"model", {{"type", "BPE"}, {"vocab", {{"a", -1}}}, {"merges", json::array()}}}}),
              HasSubstr("number -1"));
  EXPECT_THAT(refusal({{"model", {{"type", "BPE"}, {"vocab", {{"a", 1e15}}}, {"merges", json::array()}}}}),
              HasSubstr("number"));
  EXPECT_THAT(refusal({{"model", {{"type", "BPE"}, {"vocab", {{"a", 0}}}, {"merges", {"a b"}}}}}),
              HasSubstr("'b' is not in"));
  EXPECT_THAT(refusal({{"model", {{"type", "Unigram"}}}}), HasSubstr("sentencepiece"));
  auto document = byte_level({});
  document["normalizer"] = {{"type", "Precompiled"}};
  EXPECT_THAT(refusal(document), HasSubstr("'Precompiled' is not known"));
  document["normalizer"] = {{"type", "Replace"}, {"pattern", {{"Regex", "(("}}}, {"content", ""}};
  EXPECT_THAT(refusal(document), HasSubstr("is broken at"));
  json deep = {{"type", "Lowercase"}};
  for (int i = 0; i < 40; ++i) deep = {{"type", "Sequence"}, {"normalizers", json::array({deep})}};
  document["normalizer"] = deep;
  EXPECT_THAT(refusal(document), HasSubstr("too deep"));
  document["normalizer"] = {{"type", "Replace"}, {"pattern", {{"Regex", "(?:a|a)+[bc]d"}}}, {"content", ""}};
  const auto tokenizer = from_huggingface(document, "file");
  EXPECT_THROW(tokenizer->encode(std::string(3000, 'a') + "d"), Error);
}

TEST(Clip, RefusesMergesOfLaterTokens) {
  EXPECT_THROW(ClipTokenizer(byte_symbol_order(), {{600, 1}}), Error);
  const ClipTokenizer tokenizer(byte_symbol_order(), {});
  EXPECT_THAT(tokenizer.sequence("a <|endoftext|>", 6), ElementsAre(49406, 320, 49407, 49407, 0, 0));
  EXPECT_THAT(tokenizer.sequence("abcdef", 4), ElementsAre(49406, 64, 65, 49407));
  EXPECT_THROW(tokenizer.sequence("abcdef", 4, false), Error);
}

TEST(Bytes, NeedNoFile) {
  const auto tokenizer = open_tokenizer("bytes");
  EXPECT_THAT(tokenizer->encode("hé"), ElementsAre(256, 104, 195, 169));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("hé")), "hé");
  EXPECT_EQ(tokenizer->special().mask, 258);
  const Ids outside{259};
  EXPECT_THROW(tokenizer->decode(outside), Error);
}

TEST(SentencePiece, BrokenFilesAreRefused) {
  const auto path =
      std::filesystem::temp_directory_path() / ("lacuna-" + std::to_string(getpid()) + ".model");
  for (const char* content : {"", "no model", "\x0A\xFF\xFF\xFF\xFF"}) {
    io::write_atomically(path, content);
    EXPECT_THROW(open_tokenizer(path), Error);
  }
  std::filesystem::remove(path);
  EXPECT_THROW(open_tokenizer(path), Error);
}

TEST(TrainBpe, JoinsTheMostFrequentPairs) {
  WordCounts counts;
  for (int i = 0; i < 5; ++i) count_words("the cat sat on the mat", counts);
  EXPECT_EQ(counts.at("\u0120the"), 5);
  const auto document = train_bpe(counts, {.vocab_size = 265});
  // at (15), the (10: t h, then th e), Ġthe only once a sentence
  EXPECT_THAT(document["model"]["merges"].get<std::vector<std::string>>(),
              ElementsAre("a t", "h e", "t he", "\u0120 c", "\u0120 m", "\u0120 o"));
  const auto tokenizer = from_huggingface(document, "trained");
  EXPECT_EQ(tokenizer->vocab_size(), 265);
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("the hat  sat\n")), "the hat  sat\n");
  EXPECT_THROW(train_bpe(counts, {.vocab_size = 100}), Error);
}

}  // namespace
}  // namespace lacuna::text
