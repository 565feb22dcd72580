#pragma once
// A small bitmap font for captions and texts in pictures: lower-case letters, digits, space and the usual
// signs.

#include <ATen/core/Tensor.h>

#include <string>

namespace lacuna::train {

inline constexpr int64_t kGlyphHeight = 9;     ///< seven rows above the base line, two below
inline constexpr int64_t kGlyphAdvance = 6;    ///< five columns and a gap
inline constexpr char kUnknownGlyph = '\x7F';  ///< an empty box
/// Any text in the font's characters: small letters for capitals, spaces for line ends, boxes for what it
/// lacks.
std::string drawable(const std::string& utf8);

/// Pixels of a line of text at this scale.
int64_t text_width(const std::string& text, int64_t scale);
/// Draws onto canvas [H, W, 3] uint8 with its upper left corner at (top, left), which must fit.
void draw_text(at::Tensor& canvas, const std::string& text, int64_t top, int64_t left, int64_t scale,
               uint8_t grey);

}  // namespace lacuna::train
