#pragma once
// Sound files through libsndfile: WAV, FLAC, MP3, OGG (Vorbis, Opus) and what else it reads. Resampling by
// soxr.

#include <cstdint>
#include <string>
#include <vector>

#include "lacuna/io/file.h"

namespace lacuna::io {

/// What a sound file's header says.
struct AudioInfo {
  std::string format;       ///< "flac", "wav", "mp3", "ogg", or libsndfile's name in small letters
  int64_t samples = 0;      ///< of each channel
  int64_t sample_rate = 0;  ///< Hz
  int64_t channels = 0;
  int64_t bits = 0;  ///< of a sample; 0: compressed with loss
};

/// Decoded sound.
struct Audio {
  std::vector<float> samples;  ///< mono, in [-1, 1]
  int64_t sample_rate = 0;     ///< Hz
};

/// A larger file is refused instead of filling the memory.
struct AudioLimits {
  int64_t max_samples = int64_t{1} << 28;  ///< of all channels together
};

/// Reads the header alone. Error naming `name`: not a sound file, or empty.
AudioInfo probe_audio(Bytes bytes, const std::string& name);
/// Decodes to mono (the mean of the channels). Error naming `name`: not a sound file, broken, without
/// samples, with values that are not finite, or above the limits.
Audio decode_audio(Bytes bytes, const std::string& name, const AudioLimits& limits = {});
/// soxr at its "high quality" setting (20 bit); the same samples when the rates are equal. The result has
/// round(n * to / from) samples.
Audio resample(const Audio& audio, int64_t sample_rate);
/// A WAV file of 16-bit samples (clipped to [-1, 1]).
std::string encode_wav(const Audio& audio);

}  // namespace lacuna::io
