#include "lacuna/train/picture.h"

#include <algorithm>
#include <string>
#include <vector>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/train/caption.h"

namespace lacuna::train {

namespace {

constexpr int64_t kLeastSide = 128;  ///< the longer side of a picture in the panel
constexpr int64_t kGap = 12;
constexpr int64_t kTitleScale = 2, kNoteScale = 1;
constexpr uint8_t kPaper = 250, kInk = 45, kFaintInk = 110;
constexpr double kHiddenGrey = 0.8;

/// Which channels are shown; more than one are red, green and blue.
std::vector<int64_t> shown_channels(int64_t channels) {
  if (channels < 3) return {0};
  return {0, 1, 2};
}

/// Says so when channels are left out.
std::string channel_note(int64_t channels) {
  if (channels == 1 || channels == 3) return "";
  return channels < 3 ? str("channel 1 of ", channels) : str("channels 1-3 of ", channels);
}

/// [B, C, H, W] normalised -> [B, 3 or 1, H, W] in the units of the data, on the CPU.
Tensor to_data_units(const Tensor& image, const data::Normalization& normalization) {
  LACUNA_ASSERT(static_cast<int64_t>(normalization.mean.size()) == image.size(1));
  LACUNA_ASSERT(static_cast<int64_t>(normalization.std.size()) == image.size(1));
  std::vector<Tensor> channels;
  for (const int64_t c : shown_channels(image.size(1)))
    channels.push_back(image.select(1, c).to(at::kCPU, at::kFloat) * normalization.std[c] +
                       normalization.mean[c]);
  return at::stack(channels, 1);
}

/// What is drawn black and white: 0 and 1 as in the files, unless the pictures leave that range or use little
/// of it (elevations, 12-bit values in 16-bit files).
struct Contrast {
  double low = 0, high = 1;

  explicit Contrast(const Tensor& originals) {
    constexpr double kOvershoot = 0.05;  // of a bicubic resize
    constexpr double kLittle = 0.25;
    const double least = originals.min().item<double>(), most = originals.max().item<double>();
    const bool fits = least >= -kOvershoot && most <= 1 + kOvershoot && most >= kLittle;
    if (!fits && most > least) low = least, high = most;
  }

  Tensor operator()(const Tensor& pictures) const {
    // Not-a-number predictions of a broken run are drawn black.
    const Tensor unit = at::nan_to_num((pictures - low) / (high - low), 0).clamp(0, 1);
    return unit.expand({unit.size(0), 3, unit.size(2), unit.size(3)});
  }
};

/// [B, h, w] -> [B, 1, H, W] as `pictures`, every patch blown up to its pixels.
Tensor blow_up(const Tensor& patches, const Tensor& pictures) {
  const int64_t h = pictures.size(2) / patches.size(1), w = pictures.size(3) / patches.size(2);
  return patches.cpu().unsqueeze(1).repeat_interleave(h, 2).repeat_interleave(w, 3);
}

/// Each picture in grey under a scale from blue (its lowest number) over white to red (its highest).
Tensor heat_map(const Tensor& heat, const Tensor& original) {
  constexpr double kGreyShare = 0.45;
  const Tensor flat = at::nan_to_num(heat.to(at::kCPU, at::kFloat), 0).flatten(1);
  const Tensor low = flat.amin(1, true), high = flat.amax(1, true);
  const Tensor t = blow_up(((flat - low) / (high - low).clamp_min(1e-12)).view_as(heat), original);
  const Tensor colour = at::cat({(2 * t).clamp_max(1), 1 - (2 * t - 1).abs(), (2 - 2 * t).clamp_max(1)}, 1);
  return kGreyShare * original.mean(1, true) + (1 - kGreyShare) * colour;
}

std::vector<PanelColumn> make_columns(const Preview& preview, const data::Normalization& normalization) {
  const Tensor originals = to_data_units(preview.image, normalization);
  const Contrast contrast(originals);
  const Tensor original = contrast(originals);
  std::vector<PanelColumn> columns{{"original", channel_note(preview.image.size(1)), original}};
  Tensor hidden;
  if (preview.hidden.defined()) {
    hidden = blow_up(preview.hidden.to(at::kBool), original);
    columns.push_back({"visible", preview.hidden_note, original.masked_fill(hidden, kHiddenGrey)});
  }
  if (preview.predicted.defined()) {
    const Tensor predicted = contrast(to_data_units(preview.predicted, normalization));
    columns.push_back({"predicted", "", predicted});
    if (hidden.defined()) columns.push_back({"combined", "", at::where(hidden, predicted, original)});
  }
  if (preview.heat.defined())
    columns.push_back({preview.heat_title, "blue low - red high", heat_map(preview.heat, original)});
  return columns;
}

}  // namespace

Tensor preview_panel(const Preview& preview, const data::Normalization& normalization) {
  const torch::NoGradGuard no_grad;
  return draw_panel(make_columns(preview, normalization));
}

Tensor draw_panel(const std::vector<PanelColumn>& columns) {
  const Tensor& shown = columns.front().pictures;
  const int64_t rows = shown.size(0), height = shown.size(2), width = shown.size(3);
  const int64_t longer = std::max(height, width);
  const int64_t factor = (kLeastSide + longer - 1) / longer;
  const Size2 picture{height * factor, width * factor};

  int64_t column_width = picture.w, note_height = 0;
  for (const PanelColumn& column : columns) {
    column_width =
        std::max({column_width, text_width(column.title, kTitleScale), text_width(column.note, kNoteScale)});
    if (!column.note.empty()) note_height = kGlyphHeight * kNoteScale;
  }
  const int64_t title_height = kGlyphHeight * kTitleScale;
  const int64_t head = kGap + title_height + note_height;
  const int64_t pitch = column_width + kGap;
  const int64_t count = static_cast<int64_t>(columns.size());

  Tensor canvas = at::full({head + rows * (picture.h + kGap), kGap + count * pitch, 3}, kPaper, at::kByte);
  for (int64_t c = 0; c < count; ++c) {
    const PanelColumn& column = columns[c];
    const int64_t left = kGap + c * pitch;
    const auto centred = [&](int64_t size) { return left + (column_width - size) / 2; };
    draw_text(canvas, column.title, kGap - 2, centred(text_width(column.title, kTitleScale)), kTitleScale,
              kInk);
    draw_text(canvas, column.note, kGap - 2 + title_height, centred(text_width(column.note, kNoteScale)),
              kNoteScale, kFaintInk);
    const Tensor pixels = column.pictures.mul(255).round().to(at::kByte).permute({0, 2, 3, 1});
    const Tensor enlarged = pixels.repeat_interleave(factor, 1).repeat_interleave(factor, 2);
    for (int64_t row = 0; row < rows; ++row)
      canvas.narrow(0, head + row * (picture.h + kGap), picture.h)
          .narrow(1, centred(picture.w), picture.w)
          .copy_(enlarged[row]);
  }
  return canvas;
}

}  // namespace lacuna::train
