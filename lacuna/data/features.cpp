#include "lacuna/data/features.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "lacuna/core/error.h"

namespace lacuna::data {

namespace {

constexpr double kPreemphasis = 0.97, kPoveyPower = 0.85;

int64_t window_size(const KaldiConfig& config) {
  return static_cast<int64_t>(static_cast<double>(config.sample_rate) * config.frame_length);
}
int64_t window_shift(const KaldiConfig& config) {
  return static_cast<int64_t>(static_cast<double>(config.sample_rate) * config.frame_shift);
}
int64_t padded_size(int64_t window) {
  int64_t size = 1;
  while (size < window) size *= 2;
  return size;
}

double mel(double frequency) { return 1127.0 * std::log(1.0 + frequency / 700.0); }

/// [num_mel_bins, bins]: triangles, linear in mel, equally spaced; the last FFT bin has no weight.
at::Tensor mel_filters(const KaldiConfig& config, int64_t padded) {
  const int64_t bins = padded / 2 + 1;
  const double high = 0.5 * static_cast<double>(config.sample_rate);
  const double low_mel = mel(config.low_freq);
  const double step = (mel(high) - low_mel) / static_cast<double>(config.num_mel_bins + 1);
  auto out = at::zeros({config.num_mel_bins, bins}, at::kFloat);
  auto weight = out.accessor<float, 2>();
  for (int64_t b = 0; b < config.num_mel_bins; ++b) {
    const double left = low_mel + static_cast<double>(b) * step, centre = left + step, right = centre + step;
    for (int64_t k = 0; k + 1 < bins; ++k) {
      const double m =
          mel(static_cast<double>(config.sample_rate) / static_cast<double>(padded) * static_cast<double>(k));
      weight[b][k] = static_cast<float>(std::max(0.0, std::min((m - left) / step, (right - m) / step)));
    }
  }
  return out;
}

/// [M, window] views of the wave, cleaned and windowed.
at::Tensor windows(const at::Tensor& wave, const KaldiConfig& config) {
  const int64_t size = window_size(config);
  auto frames =
      (wave.scalar_type() == at::kDouble ? wave : wave.to(at::kFloat)).unfold(0, size, window_shift(config));
  frames = frames - frames.mean(1, true);
  const auto before = at::cat({frames.slice(1, 0, 1), frames.slice(1, 0, size - 1)}, 1);
  const auto n = at::arange(size, frames.options());
  const auto hann = 0.5 - 0.5 * at::cos(n * (2 * std::numbers::pi / static_cast<double>(size - 1)));
  return (frames - kPreemphasis * before) * hann.pow(kPoveyPower);
}

/// [num_ceps, bins]: the rows of an orthonormal DCT-II, each scaled by the lifter.
at::Tensor cepstra_of(const KaldiConfig& config) {
  const auto bins = static_cast<double>(config.num_mel_bins);
  auto out = at::empty({config.num_ceps, config.num_mel_bins}, at::kFloat);
  auto value = out.accessor<float, 2>();
  for (int64_t i = 0; i < config.num_ceps; ++i) {
    const auto row = static_cast<double>(i);
    const double lifter =
        1 + 0.5 * config.cepstral_lifter * std::sin(std::numbers::pi * row / config.cepstral_lifter);
    const double scale = std::sqrt((i == 0 ? 1.0 : 2.0) / bins) * lifter;
    for (int64_t n = 0; n < config.num_mel_bins; ++n)
      value[i][n] = static_cast<float>(
          scale * std::cos(std::numbers::pi / bins * (static_cast<double>(n) + 0.5) * row));
  }
  return out;
}

}  // namespace

int64_t kaldi_frames(int64_t samples, const KaldiConfig& config) {
  const int64_t size = window_size(config);
  return samples < size ? 0 : 1 + (samples - size) / window_shift(config);
}

at::Tensor kaldi_fbank(const at::Tensor& wave, const KaldiConfig& config) {
  LACUNA_ASSERT(wave.dim() == 1);
  if (kaldi_frames(wave.size(0), config) == 0) return at::zeros({0, config.num_mel_bins}, at::kFloat);
  const int64_t padded = padded_size(window_size(config));
  const auto spectrum = at::fft_rfft(windows(wave, config), padded, 1);
  const auto power = at::real(spectrum).square() + at::imag(spectrum).square();
  return at::mm(power, mel_filters(config, padded).t().to(power.scalar_type()))
      .clamp_min(std::numeric_limits<float>::epsilon())
      .log();
}

at::Tensor kaldi_mfcc(const at::Tensor& wave, const KaldiConfig& config) {
  const auto energies = kaldi_fbank(wave, config);
  return at::mm(energies, cepstra_of(config).t().to(energies.scalar_type()));
}

at::Tensor deltas(const at::Tensor& x, int64_t win_length) {
  const int64_t n = (win_length - 1) / 2, frames = x.size(0);
  if (frames == 0) return x;
  double denominator = 0;
  auto out = at::zeros_like(x);
  const auto index = at::arange(frames, at::kLong);
  for (int64_t k = 1; k <= n; ++k) {
    const auto later = x.index_select(0, (index + k).clamp(0, frames - 1));
    const auto earlier = x.index_select(0, (index - k).clamp(0, frames - 1));
    out += static_cast<double>(k) * (later - earlier);
    denominator += 2.0 * static_cast<double>(k * k);
  }
  return out / denominator;
}

at::Tensor mfcc_with_deltas(const at::Tensor& wave, const KaldiConfig& config, int64_t win_length) {
  const auto base = kaldi_mfcc(wave, config);
  const auto first = deltas(base, win_length);
  return at::cat({base, first, deltas(first, win_length)}, 1);
}

}  // namespace lacuna::data
