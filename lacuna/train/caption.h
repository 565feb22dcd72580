#pragma once
// A small bitmap font for captions in pictures: lower-case letters, digits, hyphen and space.

#include <ATen/core/Tensor.h>

#include <string>

namespace lacuna::train {

inline constexpr int64_t kGlyphHeight = 9;   ///< seven rows above the base line, two below
inline constexpr int64_t kGlyphAdvance = 6;  ///< five columns and a gap

/// Pixels of a line of text at this scale.
int64_t text_width(const std::string& text, int64_t scale);
/// Draws onto canvas [H, W, 3] uint8 with its upper left corner at (top, left), which must fit.
void draw_text(at::Tensor& canvas, const std::string& text, int64_t top, int64_t left, int64_t scale,
               uint8_t grey);

}  // namespace lacuna::train
