#include "lacuna/train/spectrogram.h"

#include <algorithm>

#include "lacuna/core/torch.h"
#include "lacuna/data/features.h"
#include "lacuna/train/picture.h"

namespace lacuna::train {

namespace {

constexpr int64_t kBins = 40;
constexpr int64_t kTall = 2;  // pixels of a mel bin
constexpr double kHiddenGrey = 0.8, kPaper = 0.98;
constexpr int64_t kWide = 320,
                  kWidest = 6;  // pixels that a short sound is stretched to, at most so many a frame
constexpr double kRange = 12;   // natural logarithms below the loudest that are drawn

/// Dark violet over red to light yellow, by intensity [H, W] in [0, 1] -> [3, H, W].
Tensor colours(const Tensor& intensity) {
  const auto ramp = [&](std::vector<double> stops) {
    const double last = static_cast<double>(stops.size() - 1);
    const auto table = torch::tensor(stops, torch::kFloat);
    const auto at = intensity * last;
    const auto below = at.floor().clamp(0, last - 1).to(torch::kLong);
    const auto low = table.take(below), high = table.take(below + 1);
    return low + (high - low) * (at - below);
  };
  return torch::stack(
      {ramp({0.02, 0.45, 0.96, 0.99}), ramp({0.01, 0.10, 0.45, 0.97}), ramp({0.08, 0.50, 0.36, 0.75})});
}

/// [..] labels -> [3, ..]: hues far apart for neighbouring numbers; paper where there is no label.
Tensor label_colours(const Tensor& labels) {
  constexpr double kGolden = 0.6180339887;
  const auto hue = (labels.to(torch::kFloat) * kGolden).remainder(1.0);
  const auto channel = [&](double shift) {
    const auto wave = ((hue + shift).remainder(1.0) * 6 - 3).abs() - 1;
    return torch::where(labels >= 0, wave.clamp(0, 1) * 0.75 + 0.15, torch::full_like(hue, kPaper));
  };
  return torch::stack({channel(0), channel(2.0 / 3), channel(1.0 / 3)});
}

/// Column of `frames` frames that stands for each of `width` pixels.
Tensor frame_at(int64_t width, int64_t frames) {
  return (torch::arange(width, torch::kLong) * frames / width).floor().to(torch::kLong).clamp(0, frames - 1);
}

/// [3, H, width]: above the true, below the predicted labels of hidden frames.
Tensor label_strips(const Tensor& truth, const Tensor& predicted, const Tensor& hidden, int64_t height,
                    const Tensor& frames) {
  const auto strip = [&](const Tensor& labels, int64_t rows) {
    const auto shown = torch::where(hidden, labels, torch::full_like(labels, -1)).index_select(0, frames);
    return label_colours(shown).unsqueeze(1).expand({3, rows, frames.size(0)});
  };
  const int64_t upper = height / 2;
  return torch::cat({strip(truth, upper), strip(predicted, height - upper)}, 1);
}

}  // namespace

Tensor spectrogram(const Tensor& wave, int64_t sample_rate) {
  data::KaldiConfig config;
  config.sample_rate = sample_rate;
  config.num_mel_bins = kBins;
  const auto energies = data::kaldi_fbank(wave, config);
  if (energies.size(0) == 0) return torch::zeros({3, kBins * kTall, 1});
  const double loudest = energies.max().item<double>();
  const auto intensity = ((energies - loudest) / kRange + 1).clamp(0, 1);
  return colours(intensity.t().flip({0}).repeat_interleave(kTall, 0));
}

Tensor sound_panel(const Preview& preview, int64_t sample_rate) {
  const torch::NoGradGuard no_grad;
  const auto wave = preview.wave.to(torch::kCPU, torch::kFloat);
  const auto length = preview.wave_length.to(torch::kCPU), frames = preview.frame_length.to(torch::kCPU);
  const auto hidden = preview.hidden_frames.to(torch::kCPU);
  const bool labels = preview.predicted_labels.defined();
  std::vector<Tensor> sounds, visible, strips;
  int64_t width = 1;
  for (int64_t b = 0; b < wave.size(0); ++b) {
    const auto sound = spectrogram(wave[b].slice(0, 0, length[b].item<int64_t>()), sample_rate);
    const int64_t T = frames[b].item<int64_t>();
    const auto at = frame_at(sound.size(2), T);
    const auto covered = hidden[b].slice(0, 0, T).index_select(0, at).view({1, 1, -1}).expand_as(sound);
    sounds.push_back(sound);
    visible.push_back(sound.masked_fill(covered, kHiddenGrey));
    if (labels) {
      const auto row = [&](const Tensor& of) { return of[b].to(torch::kCPU).slice(0, 0, T); };
      strips.push_back(label_strips(row(preview.true_labels), row(preview.predicted_labels),
                                    hidden[b].slice(0, 0, T), sound.size(1), at));
    }
    width = std::max(width, sound.size(2));
  }
  const int64_t stretch = std::clamp<int64_t>(kWide / width, 1, kWidest);
  const auto stack = [&](std::vector<Tensor> rows) {
    for (auto& row : rows)
      row = torch::constant_pad_nd(row, {0, width - row.size(2)}, kPaper).repeat_interleave(stretch, 2);
    return torch::stack(rows);
  };
  std::vector<PanelColumn> columns{{"sound", "", stack(sounds)}, {"visible", "", stack(visible)}};
  if (labels) columns.push_back({"true - predicted", "", stack(strips)});
  return draw_panel(columns);
}

}  // namespace lacuna::train
