#include "lacuna/data/synthetic_speech.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "lacuna/core/error.h"

namespace lacuna::data {

namespace {

constexpr int64_t kRate = 16000;
constexpr std::array<const char*, kSpeechWords> kWords{"badi",   "kulo", "sema",  "tigu",   "pado",
                                                       "moriki", "feba", "gasut", "nilepa", "zoku"};

/// The first three resonances of a vowel in Hz (a man's, after Peterson and Barney, 1952).
struct Vowel {
  char letter;
  std::array<double, 3> formants;
};
constexpr std::array<Vowel, 5> kVowels{{{'a', {730, 1090, 2440}},
                                        {'e', {530, 1840, 2480}},
                                        {'i', {270, 2290, 3010}},
                                        {'o', {570, 840, 2410}},
                                        {'u', {300, 870, 2240}}}};

const Vowel* vowel_of(char letter) {
  for (const auto& vowel : kVowels)
    if (vowel.letter == letter) return &vowel;
  return nullptr;
}

/// A consonant: noise or hum of a colour, for a while.
struct Consonant {
  double centre, width;  ///< Hz
  double seconds;
  bool voiced, burst;  ///< with the voice's pulses; after a silence
};

Consonant consonant_of(char letter) {
  switch (letter) {
    case 's':
    case 'z':
      return {5500, 1500, 0.09, letter == 'z', false};
    case 'f':
      return {4000, 3000, 0.08, false, false};
    case 't':
    case 'd':
      return {4000, 1500, 0.05, letter == 'd', true};
    case 'k':
    case 'g':
      return {2000, 800, 0.06, letter == 'g', true};
    case 'p':
    case 'b':
      return {800, 600, 0.05, letter == 'b', true};
    case 'm':
      return {250, 120, 0.08, true, false};
    case 'n':
      return {350, 200, 0.07, true, false};
    case 'l':
      return {400, 300, 0.06, true, false};
    default:
      return {1300, 400, 0.05, true, false};  // r
  }
}

/// Two-pole resonance of `frequency` and `width` Hz, gain 1 at its peak.
class Resonance {
 public:
  double operator()(double x, double frequency, double width) {
    const double r = std::exp(-std::numbers::pi * width / kRate);
    const double angle = 2 * std::numbers::pi * frequency / kRate;
    const double y = (1 - r) * std::sqrt(1 - 2 * r * std::cos(2 * angle) + r * r) * x +
                     2 * r * std::cos(angle) * last_ - r * r * before_;
    before_ = last_;
    return last_ = y;
  }

 private:
  double last_ = 0, before_ = 0;
};

/// Who speaks: pitch in Hz, length of the vocal tract against a man's, roughness, breath.
struct Speaker {
  double pitch, tract, jitter, breath;
};

Speaker speaker_of(int64_t number) {
  Stream random(0, "speech/speaker", static_cast<uint64_t>(number));
  const double spread = static_cast<double>(number) / (kSpeechSpeakers - 1);
  return {90 + 130 * spread, 1.0 + 0.25 * random.uniform(-0.5, 1.0), random.uniform(0.005, 0.03),
          random.uniform(0.02, 0.15)};
}

/// Speech in the making: a voice and three resonances that move.
class Mouth {
 public:
  Mouth(const Speaker& speaker, Stream& random) : speaker_(speaker), random_(random) {
    bend_ = random.uniform(-0.15, 0.15);
  }

  void vowel(const Vowel& vowel, double seconds) {
    const auto count = static_cast<int64_t>(seconds * kRate);
    for (int64_t i = 0; i < count; ++i) {
      const double at = static_cast<double>(i) / static_cast<double>(count);
      for (size_t f = 0; f < 3; ++f)
        formants_[f] += 0.003 * (vowel.formants[f] / speaker_.tract - formants_[f]);
      const double source = pulse() + speaker_.breath * 0.3 * random_.normal();
      double y = 0;
      for (size_t f = 0; f < 3; ++f)
        y += tract_[f](source, formants_[f], 60 + 30 * static_cast<double>(f)) / (1 + static_cast<double>(f));
      out_.push_back(y * std::min({1.0, 8 * at, 8 * (1 - at)}));
    }
  }

  void consonant(const Consonant& consonant, double tempo) {
    if (consonant.burst) out_.insert(out_.end(), static_cast<size_t>(0.03 * tempo * kRate), 0.0);
    const auto count = static_cast<int64_t>(consonant.seconds * tempo * kRate);
    for (int64_t i = 0; i < count; ++i) {
      const double at = static_cast<double>(i) / static_cast<double>(count);
      const double source = consonant.voiced ? pulse() + 0.1 * random_.normal() : 0.6 * random_.normal();
      const double shape = consonant.burst ? std::exp(-5 * at) : std::min({1.0, 6 * at, 6 * (1 - at)});
      out_.push_back(0.7 * shape * noise_(source, consonant.centre, consonant.width));
    }
  }

  std::vector<double> finish() { return std::move(out_); }

 private:
  /// The glottis: one pulse a period, its length a little different each time.
  double pulse() {
    phase_ +=
        speaker_.pitch * (1 + bend_ * static_cast<double>(out_.size()) / (0.5 * kRate)) * wobble_ / kRate;
    if (phase_ < 1) return -0.02;
    phase_ -= 1;
    wobble_ = 1 + speaker_.jitter * random_.normal();
    return 3;
  }

  Speaker speaker_;
  Stream& random_;
  double bend_ = 0, phase_ = 0, wobble_ = 1;
  std::array<double, 3> formants_{500, 1500, 2500};
  std::array<Resonance, 3> tract_;
  Resonance noise_;
  std::vector<double> out_;
};

}  // namespace

std::vector<std::string> speech_words() { return {kWords.begin(), kWords.end()}; }

std::vector<std::string> speech_speakers() {
  std::vector<std::string> out;
  for (int64_t i = 0; i < kSpeechSpeakers; ++i) out.push_back(str("speaker-", i));
  return out;
}

io::Audio draw_speech(int64_t word, int64_t speaker, Stream random) {
  LACUNA_ASSERT(word >= 0 && word < kSpeechWords && speaker >= 0 && speaker < kSpeechSpeakers);
  const double tempo = random.uniform(0.85, 1.2), loudness = random.uniform(0.2, 0.7);
  const double noise = random.uniform(0.0005, 0.005);
  Mouth mouth(speaker_of(speaker), random);
  for (const char* letter = kWords[static_cast<size_t>(word)]; *letter; ++letter) {
    if (const Vowel* vowel = vowel_of(*letter))
      mouth.vowel(*vowel, tempo * random.uniform(0.1, 0.18));
    else
      mouth.consonant(consonant_of(*letter), tempo);
  }
  const auto sound = mouth.finish();
  double peak = 1e-9;
  for (const double x : sound) peak = std::max(peak, std::abs(x));
  const auto silence = static_cast<size_t>(random.uniform(0.02, 0.1) * kRate);
  io::Audio out{std::vector<float>(sound.size() + 2 * silence), kRate};
  for (size_t i = 0; i < out.samples.size(); ++i) {
    const bool inside = i >= silence && i < silence + sound.size();
    const double clean = inside ? loudness * sound[i - silence] / peak : 0;
    out.samples[i] = static_cast<float>(std::clamp(clean + noise * random.normal(), -1.0, 1.0));
  }
  return out;
}

}  // namespace lacuna::data
