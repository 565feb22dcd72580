#pragma once
// What is said in a recording, as text and as numbers of tokens.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lacuna/data/dataset.h"

namespace lacuna::data {

/// Words with one space between, none at the ends.
std::string one_line(std::string_view text);
/// Of a sound file: the .txt of its name beside it; else its line of LibriSpeech's SPEAKER-CHAPTER.trans.txt
/// ("KEY WORDS ..."); empty when there is neither.
std::string transcript_beside(const io::fs::path& sound);

/// How transcripts are read and cut.
struct TranscriptConfig {
  std::string unit = "char";       ///< char: UTF-8 characters, "|" between words (fairseq's .ltr) | word
  std::vector<std::string> words;  ///< what the records of each class say; empty: the data's transcripts
};
/// The tokens of one transcript. Error when `text` is no UTF-8.
std::vector<std::string> split_transcript(const std::string& text, const std::string& unit);
/// Tokens put together again: words with spaces.
std::string join_tokens(const std::vector<std::string>& tokens, const std::string& unit);
/// What record `index` says; empty when that is not known.
std::string transcript_of(const Dataset& dataset, int64_t index, const TranscriptConfig& config);
/// Every token of the transcripts, sorted. Error when no record has a transcript.
std::vector<std::string> collect_tokens(const Dataset& dataset, const TranscriptConfig& config);
/// The records that have a transcript, with Record::tokens: places in `tokens`. Error naming a record with a
/// token that is not in them; when no record has a transcript.
std::shared_ptr<Dataset> with_tokens(std::shared_ptr<Dataset> whole, const std::vector<std::string>& tokens,
                                     const TranscriptConfig& config);

}  // namespace lacuna::data
