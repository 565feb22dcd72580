#include "lacuna/text/sentencepiece.h"

#include <sentencepiece_processor.h>

#include "lacuna/core/error.h"
#include "lacuna/text/unicode.h"

namespace lacuna::text {
namespace {

class SentencePiece final : public Tokenizer {
 public:
  explicit SentencePiece(const io::fs::path& path) : name_(path.string()) {
    const auto bytes = io::read_file(path);
    const auto status = processor_.LoadFromSerializedProto(bytes);
    if (!status.ok())
      fail(name_, str("is no sentencepiece model (", status.message(), ")"),
           "take the file as it was published");
    const auto known = [](int id) { return id >= 0 ? std::optional<int32_t>(id) : std::nullopt; };
    special_ = special_by_name(*this);
    special_.unknown = known(processor_.unk_id());
    special_.begin = known(processor_.bos_id());
    special_.end = known(processor_.eos_id());
    special_.pad = known(processor_.pad_id());
  }

  Ids encode(std::string_view text, bool framed) const override {
    std::vector<int> ids;
    const auto valid = valid_utf8(text);
    const auto status = processor_.Encode(valid, &ids);
    if (!status.ok()) fail(name_, str("can't encode a text (", status.message(), ")"), "check the text");
    if (framed && special_.begin) ids.insert(ids.begin(), *special_.begin);
    return {ids.begin(), ids.end()};
  }

  std::string decode(std::span<const int32_t> ids, bool special) const override {
    // The library leaves out control tokens; with them, runs between are decoded each for itself.
    std::string out;
    std::vector<int> run;
    const auto flush = [&] {
      std::string text;
      const auto status = processor_.Decode(run, &text);
      if (!status.ok()) fail(name_, str("can't decode (", status.message(), ")"), "check the numbers");
      out += text;
      run.clear();
    };
    for (const auto id : ids) {
      if (id < 0 || id >= vocab_size()) fail_unknown_id(id, vocab_size());
      if (!processor_.IsControl(id)) {
        run.push_back(id);
      } else if (special) {
        flush();
        out += processor_.IdToPiece(id);
      }
    }
    flush();
    return out;
  }

  int32_t vocab_size() const override { return processor_.GetPieceSize(); }
  std::string piece(int32_t id) const override {
    return id < 0 || id >= vocab_size() ? "" : processor_.IdToPiece(id);
  }
  std::optional<int32_t> id_of(std::string_view piece) const override {
    const int id = processor_.PieceToId(std::string(piece));
    if (id < 0 || id >= vocab_size() || processor_.IdToPiece(id) != piece) return std::nullopt;
    return id;
  }
  SpecialIds special() const override { return special_; }
  std::string kind() const override { return str("sentencepiece, ", vocab_size(), " tokens"); }

 private:
  std::string name_;
  sentencepiece::SentencePieceProcessor processor_;
  SpecialIds special_;
};

}  // namespace

std::shared_ptr<const Tokenizer> open_sentencepiece(const io::fs::path& path) {
  return std::make_shared<SentencePiece>(path);
}

}  // namespace lacuna::text
