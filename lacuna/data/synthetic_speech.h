#pragma once
// synthetic:speech: words of vowels and consonants by several speakers, drawn by the program.

#include <string>
#include <vector>

#include "lacuna/core/draws.h"
#include "lacuna/io/audio.h"

namespace lacuna::data {

inline constexpr int64_t kSpeechWords = 10, kSpeechSpeakers = 8;
/// "badi", "kulo", ...
std::vector<std::string> speech_words();
/// "speaker-0", ...
std::vector<std::string> speech_speakers();

/// Word `word` (0 .. 9) of two to three syllables said by `speaker` (0 .. 7): pulses of the speaker's pitch
/// through resonances (formants) of the vowels, scaled by the speaker's vocal tract, noise bursts for the
/// consonants. Tempo, pitch contour, loudness and background noise vary. About half a second at 16 kHz.
io::Audio draw_speech(int64_t word, int64_t speaker, Stream random);

}  // namespace lacuna::data
