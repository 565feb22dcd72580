#include "lacuna/train/text_panel.h"

#include <algorithm>
#include <array>

#include "lacuna/core/torch.h"
#include "lacuna/train/caption.h"

namespace lacuna::train {
namespace {

constexpr int64_t kColumns = 96, kLines = 8;  // characters of a line; lines of a text
constexpr int64_t kMargin = 6, kGap = 3, kScale = 2;
constexpr int64_t kLineHeight = 2 * (kGlyphHeight + 1) + kGap;  // a token and what was said there

using Colour = std::array<uint8_t, 3>;
constexpr Colour kHidden{255, 224, 120}, kRight{150, 225, 150}, kWrong{250, 160, 150};
constexpr Colour kPaleRight{226, 245, 226}, kPaleWrong{252, 236, 233};

/// A token and its prediction, in the font's characters.
struct Cell {
  std::string said, predicted;
  bool hidden = false, right = false;
  int64_t width() const {
    return std::ssize(said) > std::ssize(predicted) ? std::ssize(said) : std::ssize(predicted);
  }
};

std::string shown(const text::Tokenizer& tokenizer, int64_t id) {
  if (id < 0 || id >= tokenizer.vocab_size()) return id < 0 ? "" : std::string(1, kUnknownGlyph);
  const auto number = static_cast<int32_t>(id);
  auto text = tokenizer.decode(std::span(&number, 1), true);
  const auto piece = tokenizer.piece(number);
  const bool word = piece.starts_with("\u2581") && !text.starts_with(" ");  // decoders drop the first blank
  text = drawable(word ? " " + text : text);
  return text.empty() ? std::string(1, kUnknownGlyph) : text;
}

std::vector<Cell> cells_of(const Preview& preview, int64_t row, const text::Tokenizer& tokenizer) {
  std::vector<Cell> out;
  const auto values = [&](const Tensor& of) {
    const auto list = of[row].to(torch::kLong).contiguous();
    return std::vector<int64_t>(list.const_data_ptr<int64_t>(),
                                list.const_data_ptr<int64_t>() + list.numel());
  };
  const auto tokens = values(preview.tokens), predicted = values(preview.predicted_tokens),
             hidden = values(preview.hidden_tokens);
  for (size_t t = 0; t < tokens.size() && tokens[t] >= 0; ++t)
    out.push_back({shown(tokenizer, tokens[t]), shown(tokenizer, predicted[t]), hidden[t] != 0,
                   predicted[t] == tokens[t]});
  return out;
}

/// Cells by line; what does not fit into kLines is left out.
std::vector<std::vector<Cell>> lines_of(const std::vector<Cell>& cells) {
  std::vector<std::vector<Cell>> out(1);
  int64_t used = 0;
  for (const auto& cell : cells) {
    if (used + cell.width() > kColumns) {
      if (std::ssize(out) == kLines) break;
      out.emplace_back();
      used = 0;
    }
    used += cell.width();
    out.back().push_back(cell);
  }
  return out;
}

void paint(Tensor& canvas, int64_t top, int64_t left, int64_t characters, const Colour& colour) {
  auto box = canvas.narrow(0, top, kGlyphHeight + 1).narrow(1, left, characters * kGlyphAdvance);
  for (int64_t channel = 0; channel < 3; ++channel)
    box.select(2, channel).fill_(colour[static_cast<size_t>(channel)]);
}

void draw_cell(Tensor& canvas, const Cell& cell, int64_t top, int64_t left) {
  const int64_t below = top + kGlyphHeight + 1;
  if (cell.hidden) paint(canvas, top, left, cell.width(), kHidden);
  if (!cell.predicted.empty())
    paint(canvas, below, left, cell.width(),
          cell.hidden ? (cell.right ? kRight : kWrong) : (cell.right ? kPaleRight : kPaleWrong));
  draw_text(canvas, cell.said, top, left, 1, 0);
  draw_text(canvas, cell.predicted, below, left, 1, cell.hidden ? 0 : 110);
}

}  // namespace

Tensor text_panel(const Preview& preview, const text::Tokenizer& tokenizer) {
  std::vector<std::vector<std::vector<Cell>>> texts;
  int64_t height = kMargin;
  for (int64_t b = 0; b < preview.tokens.size(0); ++b) {
    texts.push_back(lines_of(cells_of(preview, b, tokenizer)));
    height += std::ssize(texts.back()) * kLineHeight + kMargin;
  }
  auto canvas = torch::full({height, kColumns * kGlyphAdvance + 2 * kMargin, 3}, 255, torch::kByte);
  int64_t top = kMargin;
  for (const auto& lines : texts) {
    for (const auto& line : lines) {
      int64_t left = kMargin;
      for (const auto& cell : line) {
        if (cell.width() * kGlyphAdvance + left > canvas.size(1)) break;  // a token longer than a line
        draw_cell(canvas, cell, top, left);
        left += cell.width() * kGlyphAdvance;
      }
      top += kLineHeight;
    }
    top += kMargin;
  }
  return canvas.repeat_interleave(kScale, 0).repeat_interleave(kScale, 1).contiguous();
}

}  // namespace lacuna::train
