#pragma once
// Features of sound as Kaldi and torchaudio.compliance.kaldi define them.

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace lacuna::data {

/// Keys of kaldi.mfcc and kaldi.fbank that are used here; no dither.
struct KaldiConfig {
  int64_t sample_rate = 16000;
  int64_t num_mel_bins = 23;
  int64_t num_ceps = 13;
  double frame_length = 0.025, frame_shift = 0.010;  ///< seconds
  double low_freq = 20;                              ///< Hz; the highest is half the sample rate
  double cepstral_lifter = 22;
};

/// Number of frames of `samples` samples: windows that lie inside (snip_edges); 0 when shorter than one.
int64_t kaldi_frames(int64_t samples, const KaldiConfig& config);
/// kaldi.fbank of a wave [N] in [-1, 1]: log mel energies [M, num_mel_bins], use_energy false. Per window:
/// mean removed, pre-emphasis 0.97, Povey window, zero-padded to a power of two, power spectrum, triangular
/// mel filters, log of at least FLT_EPSILON. A float64 wave is computed in float64, any other in float32.
at::Tensor kaldi_fbank(const at::Tensor& wave, const KaldiConfig& config);
/// kaldi.mfcc (use_energy false): [M, num_ceps], orthonormal DCT of kaldi_fbank, liftered.
at::Tensor kaldi_mfcc(const at::Tensor& wave, const KaldiConfig& config);
/// torchaudio.functional.compute_deltas, win_length 5, over time: x [M, D] -> [M, D], edges replicated.
at::Tensor deltas(const at::Tensor& x, int64_t win_length = 5);
/// HuBERT's first features: MFCC, deltas, double deltas side by side, [M, 3 * num_ceps].
at::Tensor mfcc_with_deltas(const at::Tensor& wave, const KaldiConfig& config, int64_t win_length = 5);

}  // namespace lacuna::data
