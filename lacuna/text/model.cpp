// Models and post-processors of tokenizer.json.

#include "lacuna/core/error.h"
#include "lacuna/text/pipeline.h"
#include "lacuna/text/unicode.h"

namespace lacuna::text {
namespace {

constexpr int64_t kMostTokens = 1 << 24;  // of a vocabulary: a larger number is a broken file

std::string text_or_empty(const json& part, const char* key) {
  const auto found = part.find(key);
  return found == part.end() || found->is_null() ? "" : found->get<std::string>();
}

/// The parts of a merge: "a b" or ["a", "b"].
std::pair<std::string, std::string> merge_of(const json& merge, const std::string& origin) {
  if (merge.is_array() && merge.size() == 2)
    return {merge[0].get<std::string>(), merge[1].get<std::string>()};
  const auto text = merge.get<std::string>();
  const auto blank = text.find(' ');
  if (blank == std::string::npos)
    fail(origin, "merge '" + text.substr(0, 60) + "' has no two parts", "write it again");
  return {text.substr(0, blank), text.substr(blank + 1)};
}

class BytePairs final : public Model {
 public:
  BytePairs(const json& part, const std::string& origin)
      : prefix_(text_or_empty(part, "continuing_subword_prefix")),
        suffix_(text_or_empty(part, "end_of_word_suffix")),
        fuse_unknown_(part.value("fuse_unk", false)),
        whole_words_(part.value("ignore_merges", false)) {
    read_vocabulary(part.at("vocab"), origin);
    if (const auto unknown = text_or_empty(part, "unk_token"); !unknown.empty())
      unknown_ = require(unknown, origin);
    if (part.value("byte_fallback", false))
      for (int byte = 0; byte < 256; ++byte) {
        char name[8];
        std::snprintf(name, sizeof name, "<0x%02X>", byte);
        bytes_.push_back(id_of(name));
      }
    for (const auto& merge : part.at("merges")) {
      const auto [left, right] = merge_of(merge, origin);
      const auto tail = right.starts_with(prefix_) ? right.substr(prefix_.size()) : right;
      merges_.add(require(left, origin), require(right, origin), require(left + tail, origin));
    }
  }

  void encode(std::string_view word, Ids& out) const override {
    if (whole_words_)
      if (const auto id = id_of(word); id >= 0) {
        out.push_back(id);
        return;
      }
    Ids symbols = symbols_of(word);
    merges_.apply(symbols);
    out.insert(out.end(), symbols.begin(), symbols.end());
  }
  std::string kind() const override { return bytes_.empty() ? "BPE" : "BPE with byte fallback"; }

 private:
  Ids symbols_of(std::string_view word) const {
    Ids out;
    out.reserve(word.size());
    bool pending =
        false;  // an unknown token that waits for the next known one, as in the `tokenizers` library
    const auto flush = [&] {
      if (pending) out.push_back(unknown_);
      pending = false;
    };
    std::string dressed;
    for (size_t i = 0; i < word.size();) {
      const size_t size = std::min(character_size(word[i]), word.size() - i);
      std::string_view character = word.substr(i, size);
      const auto bare = character;
      if (!prefix_.empty() || !suffix_.empty()) {
        dressed = (i > 0 ? prefix_ : "") + std::string(character) + (i + size == word.size() ? suffix_ : "");
        character = dressed;
      }
      i += size;
      if (const auto id = id_of(character); id >= 0) {
        flush();
        out.push_back(id);
      } else if (!fall_back(bare, out) && unknown_ >= 0) {
        if (!fuse_unknown_) flush();
        pending = true;
      }
    }
    flush();
    return out;
  }

  /// The bytes of a character as tokens; false, and nothing added, when one of them has none.
  bool fall_back(std::string_view character, Ids& out) const {
    if (bytes_.empty()) return false;
    for (const char c : character)
      if (bytes_[static_cast<uint8_t>(c)] < 0) return false;
    for (const char c : character) out.push_back(bytes_[static_cast<uint8_t>(c)]);
    return true;
  }

  std::string prefix_, suffix_;
  bool fuse_unknown_, whole_words_;
  int32_t unknown_ = -1;
  Ids bytes_;  // token of each byte; empty without byte fallback
  Merges merges_;
};

class WordPieces final : public Model {
 public:
  WordPieces(const json& part, const std::string& origin)
      : prefix_(part.value("continuing_subword_prefix", std::string("##"))),
        longest_word_(part.value("max_input_chars_per_word", int64_t{100})) {
    read_vocabulary(part.at("vocab"), origin);
    unknown_ = require(part.value("unk_token", std::string("[UNK]")), origin);
  }

  void encode(std::string_view word, Ids& out) const override {
    const size_t kept = out.size();
    const auto give_up = [&] {
      out.resize(kept);
      out.push_back(unknown_);
    };
    if (static_cast<int64_t>(code_points(word).size()) > longest_word_) return give_up();
    for (size_t begin = 0; begin < word.size();) {
      size_t end = word.size();
      int32_t id = -1;
      while (end > begin && (id = id_of(begun(word.substr(begin, end - begin), begin))) < 0)
        end -= last_character(word, end);
      if (id < 0) return give_up();
      out.push_back(id);
      begin = end;
    }
  }
  std::string kind() const override { return "WordPiece"; }

 private:
  std::string begun(std::string_view part, size_t begin) const {
    return (begin > 0 ? prefix_ : "") + std::string(part);
  }

  /// Bytes of the character that ends at `end`.
  static size_t last_character(std::string_view word, size_t end) {
    size_t size = 1;
    while (size < end && (static_cast<uint8_t>(word[end - size]) & 0xC0) == 0x80) ++size;
    return size;
  }

  std::string prefix_;
  int64_t longest_word_;
  int32_t unknown_;
};

class WholeWords final : public Model {
 public:
  WholeWords(const json& part, const std::string& origin) {
    read_vocabulary(part.at("vocab"), origin);
    unknown_ = require(part.at("unk_token").get<std::string>(), origin);
  }
  void encode(std::string_view word, Ids& out) const override {
    const auto id = id_of(word);
    out.push_back(id >= 0 ? id : unknown_);
  }
  std::string kind() const override { return "words"; }

 private:
  int32_t unknown_;
};

/// [begin tokens] sequence A [end tokens] of a template.
Frame template_frame(const json& part) {
  Frame frame;
  Ids* side = &frame.before;
  for (const auto& item : part.at("single")) {
    if (item.contains("Sequence")) {
      side = &frame.after;
    } else {
      const auto name = item.at("SpecialToken").at("id").get<std::string>();
      for (const auto& id : part.at("special_tokens").at(name).at("ids")) side->push_back(id.get<int32_t>());
    }
  }
  return frame;
}

}  // namespace

const std::string& Model::piece(int32_t id) const {
  static const std::string hole;
  return id < 0 || id >= size() ? hole : pieces_[static_cast<size_t>(id)];
}

int32_t Model::id_of(std::string_view piece) const {
  const auto found = ids_.find(piece);
  return found == ids_.end() ? -1 : found->second;
}

void Model::read_vocabulary(const json& vocab, const std::string& origin) {
  for (const auto& [piece, value] : vocab.items()) {
    const auto id = value.get<int64_t>();
    if (id < 0 || id >= kMostTokens)
      fail(origin, str("token '", piece.substr(0, 60), "' has number ", id), "number tokens from 0 on");
    if (id >= size()) pieces_.resize(static_cast<size_t>(id) + 1);
    pieces_[static_cast<size_t>(id)] = piece;
    ids_[piece] = static_cast<int32_t>(id);
  }
}

int32_t Model::require(const std::string& piece, const std::string& origin) const {
  const auto id = id_of(piece);
  if (id < 0)
    fail(origin, "token '" + piece.substr(0, 60) + "' is not in its vocabulary", "write the file again");
  return id;
}

std::unique_ptr<Model> make_model(const json& part, const std::string& origin) {
  // Old files name no type.
  const auto type = part.value("type", std::string(part.contains("merges") ? "BPE" : "WordPiece"));
  if (type == "BPE") return std::make_unique<BytePairs>(part, origin);
  if (type == "WordPiece") return std::make_unique<WordPieces>(part, origin);
  if (type == "WordLevel") return std::make_unique<WholeWords>(part, origin);
  if (type == "Unigram")
    fail(origin, "is a Unigram model", "open the sentencepiece file (*.model) that it was made from");
  fail_type(type, "model", origin);
}

Frame make_frame(const json& part, const std::string& origin, int depth) {
  if (part.is_null()) return {};
  const auto type = type_of(part, origin, depth);
  if (type == "TemplateProcessing") return template_frame(part);
  if (type == "ByteLevel") return {};
  if (type == "BertProcessing" || type == "RobertaProcessing")
    return {{part.at("cls").at(1).get<int32_t>()}, {part.at("sep").at(1).get<int32_t>()}};
  if (type == "Sequence") {
    Frame frame;
    for (const auto& inner : part.at("processors")) {
      const auto more = make_frame(inner, origin, depth + 1);
      frame.before.insert(frame.before.begin(), more.before.begin(), more.before.end());
      frame.after.insert(frame.after.end(), more.after.begin(), more.after.end());
    }
    return frame;
  }
  fail_type(type, "post-processor", origin);
}

std::string type_of(const json& part, const std::string& origin, int depth) {
  constexpr int kDeepest = 16;
  if (depth > kDeepest) fail(origin, "nests sequences too deep", "write the file again");
  return part.at("type").get<std::string>();
}

void fail_type(const std::string& type, const char* noun, const std::string& origin) {
  fail(origin, str(noun, " '", type.substr(0, 60), "' is not known here"),
       "use another tokenizer, or the sentencepiece file it was made from");
}

}  // namespace lacuna::text
