#include "lacuna/text/huggingface.h"

#include <unordered_set>

#include "lacuna/core/error.h"
#include "lacuna/text/added_tokens.h"
#include "lacuna/text/pipeline.h"
#include "lacuna/text/unicode.h"

namespace lacuna::text {
namespace {

const json& part_of(const json& document, const char* key) {
  static const json none;
  const auto found = document.find(key);
  return found == document.end() ? none : *found;
}

class HuggingFace final : public Tokenizer {
 public:
  HuggingFace(const json& document, const std::string& origin)
      : model_(make_model(document.at("model"), origin)),
        normalizer_(make_normalizer(part_of(document, "normalizer"), origin)),
        pre_tokenizer_(make_pre_tokenizer(part_of(document, "pre_tokenizer"), origin)),
        decoder_(make_decoder(part_of(document, "decoder"), origin)),
        frame_(make_frame(part_of(document, "post_processor"), origin)) {
    for (const auto& item : part_of(document, "added_tokens")) add(read_added_token(item), origin);
    size_ = model_->size();
    for (const auto& [id, content] : added_pieces_) size_ = std::max(size_, id + 1);
    for (const auto* side : {&frame_.before, &frame_.after})
      for (const auto id : *side)
        if (id < 0 || id >= size_)
          fail(origin, str("its post-processor writes token ", id, ", which is not there"),
               "write the file again");
    special_ = special_by_name(*this);
  }

  Ids encode(std::string_view text, bool framed) const override {
    Ids out;
    if (framed) out = frame_.before;
    Words words;
    bool first = true;
    for (auto& part : raw_.split(valid_utf8(text))) {
      if (part.id >= 0)
        out.push_back(part.id);
      else
        encode_part(std::move(part.text), first, words, out);
      first = false;
    }
    if (framed) out.insert(out.end(), frame_.after.begin(), frame_.after.end());
    return out;
  }

  std::string decode(std::span<const int32_t> ids, bool special) const override {
    Pieces pieces;
    for (const auto id : ids) {
      if (id < 0 || id >= size_) fail_unknown_id(id, size_);
      if (special || specials_.count(id) == 0) pieces.push_back(piece(id));
    }
    return decoder_ ? join(decoder_(std::move(pieces)), "") : join(pieces, " ");
  }

  int32_t vocab_size() const override { return size_; }
  std::string piece(int32_t id) const override {
    const auto found = added_pieces_.find(id);
    return found != added_pieces_.end() ? found->second : model_->piece(id);
  }
  std::optional<int32_t> id_of(std::string_view piece) const override {
    const auto found = added_ids_.find(std::string(piece));
    if (found != added_ids_.end()) return found->second;
    const auto id = model_->id_of(piece);
    return id < 0 ? std::nullopt : std::optional(id);
  }
  SpecialIds special() const override { return special_; }
  std::string kind() const override { return str(model_->kind(), ", ", size_, " tokens"); }

 private:
  using Words = std::unordered_map<std::string, Ids>;  // of one text: most words come more than once

  void add(AddedToken token, const std::string& origin) {
    constexpr int32_t kMost = 1 << 24;
    if (token.id < 0 || token.id >= kMost)
      fail(origin, str("added token '", token.content.substr(0, 60), "' has number ", token.id),
           "number tokens from 0 on");
    added_pieces_[token.id] = token.content;
    added_ids_[token.content] = token.id;
    if (token.special) specials_.insert(token.id);
    if (token.normalized && normalizer_) {
      token.content = normalizer_(token.content);
      normalised_.add(token);
    } else {
      raw_.add(token);
    }
  }

  void encode_part(std::string text, bool first, Words& words, Ids& out) const {
    if (normalizer_) text = normalizer_(std::move(text));
    for (auto& part : normalised_.split(text)) {
      if (part.id >= 0)
        out.push_back(part.id);
      else
        encode_text(std::move(part.text), first, words, out);
      first = false;
    }
  }

  void encode_text(std::string text, bool first, Words& words, Ids& out) const {
    if (!pre_tokenizer_) return model_->encode(text, out);
    for (auto& word : pre_tokenizer_({std::move(text)}, first)) {
      const auto [found, fresh] = words.try_emplace(std::move(word));
      if (fresh) model_->encode(found->first, found->second);
      out.insert(out.end(), found->second.begin(), found->second.end());
    }
  }

  std::unique_ptr<Model> model_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  Decoder decoder_;
  Frame frame_;
  AddedTokens raw_, normalised_;
  std::unordered_map<int32_t, std::string> added_pieces_;
  std::unordered_map<std::string, int32_t> added_ids_;
  std::unordered_set<int32_t> specials_;
  int32_t size_ = 0;
  SpecialIds special_;
};

}  // namespace

std::shared_ptr<const Tokenizer> from_huggingface(const json& document, const std::string& origin) {
  try {
    return std::make_shared<HuggingFace>(document, origin);
  } catch (const json::exception& error) {
    fail(origin, str("is no tokenizer.json (", error.what(), ")"), "take the file as it was published");
  }
}

}  // namespace lacuna::text
