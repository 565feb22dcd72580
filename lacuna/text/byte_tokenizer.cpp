#include "lacuna/text/byte_tokenizer.h"

#include <array>

#include "lacuna/core/error.h"
#include "lacuna/text/unicode.h"

namespace lacuna::text {
namespace {

constexpr int32_t kBytes = 256;
const std::array<std::string, 3> kSpecial{"<s>", "</s>", "[MASK]"};

class Bytes final : public Tokenizer {
 public:
  Ids encode(std::string_view text, bool framed) const override {
    Ids out;
    out.reserve(text.size() + 1);
    if (framed) out.push_back(kBytes);
    for (const char c : text) out.push_back(static_cast<uint8_t>(c));
    return out;
  }
  std::string decode(std::span<const int32_t> ids, bool special) const override {
    std::string out;
    for (const auto id : ids) {
      if (id < 0 || id >= vocab_size()) fail_unknown_id(id, vocab_size());
      if (id < kBytes)
        out.push_back(static_cast<char>(id));
      else if (special)
        out += piece(id);
    }
    return valid_utf8(out);
  }
  int32_t vocab_size() const override { return kBytes + static_cast<int32_t>(kSpecial.size()); }
  std::string piece(int32_t id) const override {
    if (id < 0 || id >= vocab_size()) return "";
    return id < kBytes ? std::string(1, static_cast<char>(id)) : kSpecial[static_cast<size_t>(id - kBytes)];
  }
  std::optional<int32_t> id_of(std::string_view piece) const override {
    if (piece.size() == 1) return static_cast<uint8_t>(piece[0]);
    for (size_t i = 0; i < kSpecial.size(); ++i)
      if (piece == kSpecial[i]) return kBytes + static_cast<int32_t>(i);
    return std::nullopt;
  }
  SpecialIds special() const override { return {.begin = kBytes, .end = kBytes + 1, .mask = kBytes + 2}; }
  std::string kind() const override { return str("bytes, ", vocab_size(), " tokens"); }
};

}  // namespace

std::shared_ptr<const Tokenizer> byte_tokenizer() {
  static const auto one = std::make_shared<Bytes>();
  return one;
}

}  // namespace lacuna::text
