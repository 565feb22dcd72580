#include "lacuna/train/caption.h"

#include <array>
#include <map>

#include "lacuna/core/error.h"

namespace lacuna::train {

namespace {

using Glyph = std::array<uint8_t, kGlyphHeight>;
constexpr int64_t kGlyphWidth = kGlyphAdvance - 1;

/// Rows from top to bottom; two octal digits hold a row's five pixels, the leftmost in the highest bit.
const std::map<char, Glyph>& all_glyphs() {
  // clang-format off
  static const std::map<char, Glyph> glyphs{
    {' ', {}},
    {'a', {000, 000, 016, 001, 017, 021, 017, 000, 000}},
    {'b', {020, 020, 026, 031, 021, 021, 036, 000, 000}},
    {'c', {000, 000, 016, 021, 020, 021, 016, 000, 000}},
    {'d', {001, 001, 015, 023, 021, 021, 017, 000, 000}},
    {'e', {000, 000, 016, 021, 037, 020, 016, 000, 000}},
    {'f', {006, 010, 036, 010, 010, 010, 010, 000, 000}},
    {'g', {000, 000, 017, 021, 021, 021, 017, 001, 016}},
    {'h', {020, 020, 026, 031, 021, 021, 021, 000, 000}},
    {'i', {004, 000, 014, 004, 004, 004, 016, 000, 000}},
    {'j', {002, 000, 006, 002, 002, 002, 002, 022, 014}},
    {'k', {020, 020, 022, 024, 030, 024, 022, 000, 000}},
    {'l', {014, 004, 004, 004, 004, 004, 016, 000, 000}},
    {'m', {000, 000, 032, 025, 025, 025, 025, 000, 000}},
    {'n', {000, 000, 026, 031, 021, 021, 021, 000, 000}},
    {'o', {000, 000, 016, 021, 021, 021, 016, 000, 000}},
    {'p', {000, 000, 036, 021, 021, 021, 036, 020, 020}},
    {'q', {000, 000, 017, 021, 021, 021, 017, 001, 001}},
    {'r', {000, 000, 026, 031, 020, 020, 020, 000, 000}},
    {'s', {000, 000, 017, 020, 016, 001, 036, 000, 000}},
    {'t', {010, 010, 036, 010, 010, 010, 006, 000, 000}},
    {'u', {000, 000, 021, 021, 021, 023, 015, 000, 000}},
    {'v', {000, 000, 021, 021, 021, 012, 004, 000, 000}},
    {'w', {000, 000, 021, 025, 025, 025, 012, 000, 000}},
    {'x', {000, 000, 021, 012, 004, 012, 021, 000, 000}},
    {'y', {000, 000, 021, 021, 021, 023, 015, 001, 016}},
    {'z', {000, 000, 037, 002, 004, 010, 037, 000, 000}},
    {'0', {016, 021, 023, 025, 031, 021, 016, 000, 000}},
    {'1', {004, 014, 004, 004, 004, 004, 016, 000, 000}},
    {'2', {016, 021, 001, 002, 004, 010, 037, 000, 000}},
    {'3', {016, 021, 001, 006, 001, 021, 016, 000, 000}},
    {'4', {002, 006, 012, 022, 037, 002, 002, 000, 000}},
    {'5', {037, 020, 036, 001, 001, 021, 016, 000, 000}},
    {'6', {016, 020, 020, 036, 021, 021, 016, 000, 000}},
    {'7', {037, 001, 002, 004, 004, 010, 010, 000, 000}},
    {'8', {016, 021, 021, 016, 021, 021, 016, 000, 000}},
    {'9', {016, 021, 021, 017, 001, 001, 016, 000, 000}},
    {'-', {000, 000, 000, 037, 000, 000, 000, 000, 000}},
    {'.', {000, 000, 000, 000, 000, 014, 014, 000, 000}},
    {',', {000, 000, 000, 000, 000, 014, 014, 004, 010}},
    {':', {000, 000, 014, 014, 000, 014, 014, 000, 000}},
    {';', {000, 000, 014, 014, 000, 014, 014, 004, 010}},
    {'!', {004, 004, 004, 004, 004, 000, 004, 000, 000}},
    {'?', {016, 021, 001, 002, 004, 000, 004, 000, 000}},
    {'\'', {004, 004, 010, 000, 000, 000, 000, 000, 000}},
    {'"', {012, 012, 012, 000, 000, 000, 000, 000, 000}},
    {'(', {002, 004, 010, 010, 010, 004, 002, 000, 000}},
    {')', {010, 004, 002, 002, 002, 004, 010, 000, 000}},
    {'[', {016, 010, 010, 010, 010, 010, 016, 000, 000}},
    {']', {016, 002, 002, 002, 002, 002, 016, 000, 000}},
    {'<', {002, 004, 010, 020, 010, 004, 002, 000, 000}},
    {'>', {010, 004, 002, 001, 002, 004, 010, 000, 000}},
    {'/', {001, 001, 002, 004, 010, 020, 020, 000, 000}},
    {'+', {000, 004, 004, 037, 004, 004, 000, 000, 000}},
    {'=', {000, 000, 037, 000, 037, 000, 000, 000, 000}},
    {'*', {000, 025, 016, 037, 016, 025, 000, 000, 000}},
    {'%', {030, 031, 002, 004, 010, 023, 003, 000, 000}},
    {'#', {012, 012, 037, 012, 037, 012, 012, 000, 000}},
    {'&', {014, 022, 014, 015, 022, 022, 015, 000, 000}},
    {'_', {000, 000, 000, 000, 000, 000, 000, 037, 000}},
    {kUnknownGlyph, {037, 021, 021, 021, 021, 021, 037, 000, 000}},
  };
  // clang-format on
  return glyphs;
}

const Glyph& glyph_of(char character) {
  const auto found = all_glyphs().find(character);
  LACUNA_ASSERT(found != all_glyphs().end() && "a character the font lacks");
  return found->second;
}

}  // namespace

std::string drawable(const std::string& utf8) {
  std::string out;
  for (const char c : utf8) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xC0) == 0x80) continue;  // one box for a character of several bytes
    const char small = byte < 0x80 ? static_cast<char>(std::tolower(byte)) : kUnknownGlyph;
    out += std::isspace(byte) != 0 ? ' ' : all_glyphs().count(small) != 0 ? small : kUnknownGlyph;
  }
  return out;
}

int64_t text_width(const std::string& text, int64_t scale) {
  return text.empty() ? 0 : (static_cast<int64_t>(text.size()) * kGlyphAdvance - 1) * scale;
}

void draw_text(at::Tensor& canvas, const std::string& text, int64_t top, int64_t left, int64_t scale,
               uint8_t grey) {
  LACUNA_ASSERT(top >= 0 && top + kGlyphHeight * scale <= canvas.size(0));
  LACUNA_ASSERT(left >= 0 && left + text_width(text, scale) <= canvas.size(1));
  for (const char character : text) {
    const Glyph& glyph = glyph_of(character);
    for (int64_t row = 0; row < kGlyphHeight; ++row)
      for (int64_t column = 0; column < kGlyphWidth; ++column)
        if (glyph[row] >> (kGlyphWidth - 1 - column) & 1)
          canvas.narrow(0, top + row * scale, scale).narrow(1, left + column * scale, scale).fill_(grey);
    left += kGlyphAdvance * scale;
  }
}

}  // namespace lacuna::train
