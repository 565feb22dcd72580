#include "lacuna/data/transcripts.h"

#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <unordered_map>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"

namespace lacuna::data {

namespace fs = io::fs;

namespace {

constexpr const char* kSpace = "|";  // between words, as in fairseq's .ltr files

/// Bytes of the UTF-8 character that begins with `lead`; 0 when none does.
size_t character_size(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead < 0xE0) return 2;
  if (lead >= 0xE0 && lead < 0xF0) return 3;
  return lead >= 0xF0 && lead < 0xF5 ? 4 : 0;
}

std::vector<std::string> characters(const std::string& text) {
  std::vector<std::string> out;
  for (size_t at = 0; at < text.size();) {
    const size_t size = character_size(static_cast<unsigned char>(text[at]));
    bool good = size > 0 && at + size <= text.size();
    for (size_t i = 1; good && i < size; ++i)
      good = (static_cast<unsigned char>(text[at + i]) & 0xC0) == 0x80;
    if (!good) fail("transcript '" + text + "'", "is no UTF-8 text", "write it as UTF-8");
    out.push_back(text[at] == ' ' ? kSpace : text.substr(at, size));
    at += size;
  }
  return out;
}

[[noreturn]] void no_transcripts(const Dataset& dataset) {
  fail(dataset.uri(), "has no transcripts",
       "put KEY.txt beside the sounds, a third column into the manifest, or name what each class says "
       "(head.words)");
}

class Tokenized final : public Dataset {
 public:
  Tokenized(std::shared_ptr<Dataset> whole, const std::vector<std::string>& tokens, TranscriptConfig config)
      : whole_(std::move(whole)), config_(std::move(config)) {
    std::unordered_map<std::string, int32_t> number;
    for (const auto& token : tokens) number.emplace(token, static_cast<int32_t>(number.size()));
    for (int64_t i = 0; i < whole_->size(); ++i) {
      const auto text = transcript_of(*whole_, i, config_);
      if (text.empty()) continue;
      auto own = std::make_shared<std::vector<int32_t>>();
      for (const auto& token : split_transcript(text, config_.unit)) {
        const auto found = number.find(token);
        if (found == number.end())
          fail(whole_->get(i).key,
               str("its transcript '", text, "' has '", token, "', which is no token here"),
               "add it to head.tokens, or take the record out");
        own->push_back(found->second);
      }
      kept_.push_back(i);
      tokens_.push_back(std::move(own));
    }
    if (kept_.empty()) no_transcripts(*whole_);
    if (std::ssize(kept_) < whole_->size())
      log::warn(str(whole_->size() - std::ssize(kept_), " records of ", whole_->uri(),
                    " have no transcript and are left out"));
  }
  int64_t size() const override { return std::ssize(kept_); }
  Record get(int64_t index) const override {
    Record record = whole_->get(at(index));
    record.tokens = tokens_[static_cast<size_t>(index)];
    return record;
  }
  int64_t label(int64_t index) const override { return whole_->label(at(index)); }
  std::vector<std::string> classes() const override { return whole_->classes(); }
  std::string transcript(int64_t index) const override { return transcript_of(*whole_, at(index), config_); }
  std::string uri() const override { return whole_->uri(); }
  std::string modality() const override { return whole_->modality(); }

 private:
  int64_t at(int64_t index) const { return kept_[static_cast<size_t>(index)]; }

  std::shared_ptr<Dataset> whole_;
  TranscriptConfig config_;
  std::vector<int64_t> kept_;
  std::vector<std::shared_ptr<const std::vector<int32_t>>> tokens_;
};

}  // namespace

std::string one_line(std::string_view text) {
  std::istringstream words{std::string(text)};
  std::string out;
  for (std::string word; words >> word;) out += (out.empty() ? "" : " ") + word;
  return out;
}

std::string transcript_beside(const fs::path& sound) {
  std::error_code error;
  auto own = sound;
  own.replace_extension(".txt");
  if (fs::exists(own, error)) return one_line(io::read_file(own));
  const std::string key = sound.stem().string();
  const auto dash = key.rfind('-');
  if (dash == std::string::npos) return "";
  std::ifstream chapter(sound.parent_path() / (key.substr(0, dash) + ".trans.txt"));
  for (std::string line; std::getline(chapter, line);)
    if (line.starts_with(key + " ")) return one_line(std::string_view(line).substr(key.size()));
  return "";
}

std::vector<std::string> split_transcript(const std::string& text, const std::string& unit) {
  if (unit == "char") return characters(text);
  std::istringstream words(text);
  return {std::istream_iterator<std::string>(words), {}};
}

std::string join_tokens(const std::vector<std::string>& tokens, const std::string& unit) {
  std::string out;
  for (const auto& token : tokens) {
    if (unit == "word" && !out.empty()) out += ' ';
    out += unit == "char" && token == kSpace ? " " : token;
  }
  return one_line(out);
}

std::string transcript_of(const Dataset& dataset, int64_t index, const TranscriptConfig& config) {
  if (config.words.empty()) return one_line(dataset.transcript(index));
  const int64_t label = dataset.label(index);
  if (label < 0) return "";
  if (label >= std::ssize(config.words))
    fail("head.words", str("has ", config.words.size(), " entries, and there is a class ", label),
         "give what each class says, in the classes' order");
  return one_line(config.words[static_cast<size_t>(label)]);
}

std::vector<std::string> collect_tokens(const Dataset& dataset, const TranscriptConfig& config) {
  std::set<std::string> tokens;
  for (int64_t i = 0; i < dataset.size(); ++i)
    for (auto& token : split_transcript(transcript_of(dataset, i, config), config.unit))
      tokens.insert(std::move(token));
  if (tokens.empty()) no_transcripts(dataset);
  return {tokens.begin(), tokens.end()};
}

std::shared_ptr<Dataset> with_tokens(std::shared_ptr<Dataset> whole, const std::vector<std::string>& tokens,
                                     const TranscriptConfig& config) {
  return std::make_shared<Tokenized>(std::move(whole), tokens, config);
}

}  // namespace lacuna::data
