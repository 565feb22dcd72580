#include "lacuna/text/byte_symbols.h"

#include "lacuna/text/unicode.h"

namespace lacuna::text {

namespace {

constexpr int kBytes = 256;
constexpr size_t kVisible = 188;        // bytes that are spelled as themselves
constexpr char32_t kSpellings = 0x144;  // all symbols are below this

}  // namespace

const std::array<uint8_t, 256>& byte_symbol_order() {
  static const auto order = [] {
    std::array<uint8_t, 256> out{};
    size_t n = 0;
    const auto visible = [](int b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174; };
    for (const bool wanted : {true, false})
      for (int b = 0; b < kBytes; ++b)
        if (visible(b) == wanted) out[n++] = static_cast<uint8_t>(b);
    return out;
  }();
  return order;
}

const std::array<char32_t, 256>& byte_spelling() {
  static const auto spelling = [] {
    std::array<char32_t, 256> out{};
    const auto& order = byte_symbol_order();
    for (size_t i = 0; i < order.size(); ++i)
      out[order[i]] = static_cast<char32_t>(i < kVisible ? order[i] : kBytes + i - kVisible);
    return out;
  }();
  return spelling;
}

std::string spell_bytes(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) append(out, byte_spelling()[static_cast<uint8_t>(c)]);
  return out;
}

std::string bytes_of_spelling(std::string_view token) {
  static const auto byte_of = [] {
    std::array<int, kSpellings> out;
    out.fill(-1);
    for (int byte = 0; byte < kBytes; ++byte) out[byte_spelling()[static_cast<size_t>(byte)]] = byte;
    return out;
  }();
  std::string out;
  for (const auto code : code_points(token)) {
    if (code >= kSpellings || byte_of[code] < 0) return std::string(token);
    out.push_back(static_cast<char>(byte_of[code]));
  }
  return out;
}

}  // namespace lacuna::text
