#include "lacuna/data/audio.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sndfile.h>

#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/features.h"
#include "lacuna/data/folder.h"
#include "lacuna/data/inspect.h"
#include "lacuna/data/loader.h"
#include "lacuna/data/transcripts.h"
#include "tests/support/pictures.h"

namespace lacuna::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

io::Audio tone(double seconds, int64_t rate = 16000, double frequency = 440) {
  io::Audio out{std::vector<float>(static_cast<size_t>(seconds * static_cast<double>(rate))), rate};
  for (size_t i = 0; i < out.samples.size(); ++i)
    out.samples[i] = static_cast<float>(
        0.5 * std::sin(2 * M_PI * frequency * static_cast<double>(i) / static_cast<double>(rate)));
  return out;
}

/// Tones of 0.1, 0.2, ... seconds, with frame labels 0, 1, 2, ... at 100 a second.
class Tones final : public Dataset {
 public:
  explicit Tones(int64_t size) : size_(size) {}
  int64_t size() const override { return size_; }
  Record get(int64_t index) const override {
    Record record{str("tone-", index), index % 2, tone(0.1 * static_cast<double>(index + 1))};
    auto labels = std::make_shared<std::vector<int32_t>>();
    for (int32_t i = 0; i < 10 * (index + 1); ++i) labels->push_back(i);
    record.frame_labels = {{labels, 100}};
    return record;
  }
  int64_t label(int64_t index) const override { return index % 2; }
  std::vector<std::string> classes() const override { return {"even", "odd"}; }
  std::string uri() const override { return "tones"; }
  std::string modality() const override { return "audio"; }

 private:
  int64_t size_;
};

Batch first_batch(const AudioConfig& config, int64_t rows, bool evaluate = false) {
  const AudioTransform transform(config);
  std::shared_ptr<const Transform> used = std::make_shared<const AudioTransform>(config);
  if (evaluate) used = transform.evaluating();
  Loader loader(std::make_shared<Tones>(4), used,
                {.batch_size = rows, .workers = 0, .shuffle = false, .drop_last = !evaluate});
  return loader.next();
}

TEST(AudioTransform, ShortestCutsWaveAndLabelsTogether) {
  const auto batch = first_batch({.crop = "shortest", .min_samples = 0}, 4);
  EXPECT_EQ(batch.wave.sizes(), (std::vector<int64_t>{4, 1600}));
  EXPECT_EQ(batch.frame_label.sizes(), (std::vector<int64_t>{4, 1, 10}));
  for (int64_t b = 0; b < 4; ++b) {
    // Where the labels begin tells where the crop does, to within a label.
    const int64_t first = batch.frame_label[b][0][0].item<int64_t>();
    const auto whole = torch::tensor(tone(0.1 * static_cast<double>(b + 1)).samples);
    bool found = false;
    for (int64_t start = std::max<int64_t>(0, first * 160 - 80); start <= first * 160 + 80; ++start)
      found = found ||
              (start + 1600 <= whole.size(0) && whole.slice(0, start, start + 1600).equal(batch.wave[b]));
    EXPECT_TRUE(found) << b;
  }
}

TEST(AudioTransform, LongestFillsWithZerosAndSaysHowFar) {
  const auto batch = first_batch({.crop = "longest", .min_samples = 0}, 3);
  EXPECT_EQ(batch.wave.size(1), 4800);
  EXPECT_TRUE(batch.wave_length.equal(torch::tensor({1600, 3200, 4800}, torch::kLong)));
  EXPECT_EQ(batch.wave[0].slice(0, 1600).abs().max().item<float>(), 0);
  EXPECT_EQ(batch.frame_label[0][0][9].item<int64_t>(), 9);
  EXPECT_EQ(batch.frame_label[0][0][10].item<int64_t>(), -1);
}

TEST(AudioTransform, FixedAndBoundedBatches) {
  EXPECT_EQ(first_batch({.crop = "fixed", .max_samples = 2000, .min_samples = 0}, 2).wave.size(1), 2000);
  const AudioConfig bounded{.crop = "longest", .min_samples = 0, .batch_samples = 6000};
  EXPECT_EQ(first_batch(bounded, 4).wave.size(1), 1500);
}

TEST(AudioTransform, NormalisedSilenceIsZero) {
  std::vector<float> silence(1000, 0.25F);
  normalize_wave(silence);
  EXPECT_THAT(silence, ::testing::Each(0.0F));
  auto sound = tone(0.1).samples;
  normalize_wave(sound);
  const auto wave = torch::tensor(sound);
  EXPECT_NEAR(wave.mean().item<double>(), 0, 1e-6);
  EXPECT_NEAR(wave.var(false).item<double>(), 1, 1e-3);
}

TEST(SoundFiles, WavRoundTripAndBrokenOnes) {
  const auto sound = tone(0.2, 8000);
  const std::string wav = io::encode_wav(sound);
  const auto bytes = std::as_bytes(std::span(wav));
  const auto info = io::probe_audio(bytes, "a.wav");
  EXPECT_EQ(info.format, "wav");
  EXPECT_EQ(info.samples, 1600);
  EXPECT_EQ(info.sample_rate, 8000);
  const auto back = io::decode_audio(bytes, "a.wav");
  ASSERT_EQ(back.samples.size(), 1600U);
  for (size_t i = 0; i < 1600; i += 37) EXPECT_NEAR(back.samples[i], sound.samples[i], 1e-4);
  const auto error_of = [](const std::string& content) -> std::string {
    try {
      io::decode_audio(std::as_bytes(std::span(content)), "x.wav");
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(error_of(""), HasSubstr("x.wav: is empty"));
  EXPECT_THAT(error_of("no sound at all"), HasSubstr("no sound file"));
  EXPECT_THAT(error_of(io::encode_wav({{}, 16000})), HasSubstr("holds no samples"));
}

TEST(SoundFiles, ResamplingKeepsATone) {
  const auto up = io::resample(tone(0.5, 8000, 200), 16000);
  const auto wanted = tone(0.5, 16000, 200);
  ASSERT_EQ(up.samples.size(), wanted.samples.size());
  for (size_t i = 1000; i < 7000; i += 101) EXPECT_NEAR(up.samples[i], wanted.samples[i], 2e-3);
  EXPECT_EQ(io::resample(tone(0.1, 22050), 16000).samples.size(), 1600U);
}

TEST(SoundSets, FolderManifestAndLabelsOfNames) {
  const testing::TemporaryFolder folder;
  for (const char* name : {"7_ann_0.wav", "2_bob_1.wav", "7_bob_2.wav"})
    io::write_atomically(folder.path() / name, io::encode_wav(tone(0.05)));
  EXPECT_EQ(parse_uri(folder.path().string()).scheme, "audio");  // a bare path to sound
  const auto plain = open_dataset("audio:" + folder.path().string());
  EXPECT_EQ(plain->size(), 3);
  EXPECT_FALSE(plain->labelled());
  EXPECT_EQ(plain->modality(), "audio");
  const auto speakers = open_dataset("audio:" + folder.path().string() + "?label_field=1");
  EXPECT_THAT(speakers->classes(), ElementsAre("ann", "bob"));
  EXPECT_EQ(speakers->label(1), 0);  // sorted by name: 2_bob, 7_ann, 7_bob
  io::write_atomically(folder.path() / "all.tsv",
                       folder.path().string() + "\n7_ann_0.wav\t800\n2_bob_1.wav\t800\n");
  const auto manifest = open_dataset("audio:" + (folder.path() / "all.tsv").string() + "?label_field=0");
  EXPECT_THAT(manifest->classes(), ElementsAre("2", "7"));
  EXPECT_EQ(decode_sound(manifest->get(0), 16000).samples.size(), 800U);
  EXPECT_THROW(open_dataset("audio:" + folder.path().string() + "?label_field=5"), Error);
}

TEST(SoundSets, FrameLabelFilesMustFit) {
  const testing::TemporaryFolder folder;
  const auto file = (folder.path() / "a.km").string();
  io::write_atomically(file, "0 1 2\n3 4\n");
  const auto labelled = with_frame_labels(std::make_shared<Tones>(2), {file}, 50);
  EXPECT_THAT(frame_label_classes(*labelled), ElementsAre(5));
  EXPECT_EQ(labelled->get(1).frame_labels.back().values->size(), 2U);
  EXPECT_THROW(with_frame_labels(std::make_shared<Tones>(3), {file}, 50), Error);
  io::write_atomically(file, "0 x\n1\n");
  EXPECT_THROW(with_frame_labels(std::make_shared<Tones>(2), {file}, 50), Error);
}

TEST(SoundSets, ShortRecordsAreLeftOut) {
  EXPECT_EQ(long_enough(std::make_shared<Tones>(4), 3000, 16000, 1)->size(), 3);
  EXPECT_THROW(long_enough(std::make_shared<Tones>(2), 99999, 16000, 1), Error);
}

TEST(SoundSets, SyntheticSpeechIsReproducibleAndLabelled) {
  const auto words = open_dataset("synthetic:speech?count=20");
  EXPECT_EQ(words->modality(), "audio");
  EXPECT_EQ(words->classes().size(), 10U);
  const auto once = decode_sound(words->get(3), 16000), again = decode_sound(words->get(3), 16000);
  EXPECT_EQ(once.samples, again.samples);
  EXPECT_GT(once.samples.size(), 4000U);
  const auto wave = torch::tensor(once.samples);
  EXPECT_GT(wave.abs().max().item<double>(), 0.1);
  EXPECT_LE(wave.abs().max().item<double>(), 1.0);
}

TEST(SoundSets, InspectCountsSecondsAndSilence) {
  const auto report = Registry<Inspector>::instance().get("audio").inspect(Tones(3), 0, 2).json;
  EXPECT_EQ(report["read"], 3);
  EXPECT_NEAR(report["seconds"]["total"].get<double>(), 0.6, 1e-9);
  EXPECT_EQ(report["silent_count"], 0);
  EXPECT_NEAR(report["rms"].get<double>(), 0.5 / std::sqrt(2.0), 1e-2);
}

/// A file of libsndfile's `format`, one channel of `samples` repeated.
std::string encoded(const io::Audio& audio, int format, int channels = 1) {
  const testing::TemporaryFolder folder;
  const auto path = (folder.path() / "sound").string();
  SF_INFO info{};
  info.samplerate = static_cast<int>(audio.sample_rate), info.channels = channels, info.format = format;
  SNDFILE* file = sf_open(path.c_str(), SFM_WRITE, &info);
  EXPECT_NE(file, nullptr) << sf_strerror(nullptr);
  if (file == nullptr) return "";
  std::vector<float> frames;
  for (const float x : audio.samples) frames.insert(frames.end(), static_cast<size_t>(channels), x);
  sf_writef_float(file, frames.data(), static_cast<sf_count_t>(audio.samples.size()));
  sf_close(file);
  return io::read_file(path);
}

TEST(SoundFiles, CompressedFormatsKeepATone) {
  const auto sound = tone(1.0, 16000, 500);
  struct Kind {
    const char* name;
    int format;
    double tolerance;
  };
  for (const Kind& kind : {Kind{"flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 1e-4},
                           {"wav", SF_FORMAT_WAV | SF_FORMAT_PCM_24, 1e-6},
                           {"ogg", SF_FORMAT_OGG | SF_FORMAT_VORBIS, 0.05},
                           {"mp3", SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III, 0.05}}) {
    const std::string file = encoded(sound, kind.format, /*channels=*/2);
    const auto bytes = std::as_bytes(std::span(file));
    EXPECT_EQ(io::probe_audio(bytes, kind.name).format, kind.name);
    EXPECT_EQ(io::probe_audio(bytes, kind.name).channels, 2);
    const auto back = io::decode_audio(bytes, kind.name);
    EXPECT_EQ(back.sample_rate, 16000) << kind.name;
    ASSERT_GE(back.samples.size(), 16000U) << kind.name;  // MP3 fills its last frame
    // An encoder may shift the sound by a few samples: its power and its pitch are compared.
    double power = 0, wrong = 0;
    for (size_t i = 4000; i < 12000; ++i) {
      power += back.samples[i] * back.samples[i] / 8000;
      wrong = std::max(wrong, std::abs(double{back.samples[i]} + back.samples[i + 16]));  // half a period on
    }
    EXPECT_NEAR(power, 0.125, kind.tolerance * 0.125) << kind.name;
    EXPECT_LT(wrong, kind.tolerance + 1e-4) << kind.name;
  }
}

TEST(SoundFiles, SamplesThatAreNoNumbersAreRefused) {
  auto sound = tone(0.1);
  sound.samples[100] = NAN;
  const std::string file = encoded(sound, SF_FORMAT_WAV | SF_FORMAT_FLOAT);
  try {
    io::decode_audio(std::as_bytes(std::span(file)), "nan.wav");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("nan.wav: holds values that are not finite"));
  }
}

TEST(SoundFiles, CutShortFilesGiveWhatTheyHold) {
  const std::string whole = io::encode_wav(tone(0.5));
  const std::string half = whole.substr(0, whole.size() / 2);
  const auto back = io::decode_audio(std::as_bytes(std::span(half)), "half.wav");
  EXPECT_GT(back.samples.size(), 3500U);
  EXPECT_LT(back.samples.size(), 4500U);
}

/// A folder with a silent, an empty, a one-sample, a broken, a NaN and a good file of another rate.
void write_hostile(const testing::TemporaryFolder& folder) {
  auto bad = tone(0.1);
  bad.samples[7] = INFINITY;
  testing::write_file(folder / "a_silent.wav", io::encode_wav({std::vector<float>(4000, 0.0F), 16000}));
  testing::write_file(folder / "b_empty.wav", "");
  testing::write_file(folder / "c_one.wav", io::encode_wav({{0.5F}, 16000}));
  testing::write_file(folder / "d_broken.flac", "fLaC and nothing more");
  testing::write_file(folder / "e_nan.wav", encoded(bad, SF_FORMAT_WAV | SF_FORMAT_FLOAT));
  testing::write_file(folder / "f_good.wav", io::encode_wav(tone(0.5, 44100)));
}

TEST(SoundSets, HostileFilesAreNamedAndTheOthersRead) {
  const testing::TemporaryFolder folder;
  write_hostile(folder);
  const auto dataset = open_dataset("audio:" + folder.path().string());
  ASSERT_EQ(dataset->size(), 6);
  const AudioTransform transform({.crop = "longest", .min_samples = 0});
  Loader loader(dataset, transform.evaluating(),
                {.batch_size = 6, .workers = 0, .shuffle = false, .drop_last = false, .max_bad = 3});
  const auto batch = loader.next();
  ASSERT_EQ(batch.size(), 3);
  EXPECT_TRUE(batch.wave_length.equal(torch::tensor({4000, 1, 8000}, torch::kLong)));
  EXPECT_TRUE(batch.wave.isfinite().all().item<bool>());
  EXPECT_EQ(loader.bad_records().size(), 3U);
  // In training the short ones are left out; the broken ones stay, to be named when they are met.
  EXPECT_EQ(long_enough(dataset, 1000, 16000, 1)->size(), 5);
}

TEST(SoundSets, WebDatasetOfSoundWithTranscripts) {
  const testing::TemporaryFolder folder;
  std::string tar;
  for (const char* key : {"a", "b"}) {
    tar += testing::tar_member(str(key, ".cls"), "1");
    tar += testing::tar_member(str(key, ".flac"), encoded(tone(0.1), SF_FORMAT_FLAC | SF_FORMAT_PCM_16));
  }
  tar += testing::tar_member("b.txt", "  two\n words ");
  tar += std::string(1024, '\0');
  testing::write_file(folder / "s.tar", tar);
  const auto dataset = open_dataset("wds:" + (folder / "s.tar").string());
  ASSERT_EQ(dataset->size(), 2);
  EXPECT_EQ(dataset->modality(), "audio");
  EXPECT_EQ(dataset->label(0), 1);
  EXPECT_EQ(dataset->transcript(0), "");
  EXPECT_EQ(dataset->transcript(1), "two words");
  EXPECT_EQ(decode_sound(dataset->get(1), 16000).samples.size(), 1600U);
}

TEST(Transcripts, AreFoundBesideFilesAndInManifests) {
  const testing::TemporaryFolder folder;
  for (const char* name : {"1-2-0003.wav", "1-2-0004.wav", "plain.wav"})
    testing::write_file(folder / name, io::encode_wav(tone(0.05)));
  testing::write_file(folder / "plain.txt", "plain text\n");
  testing::write_file(folder / "1-2.trans.txt", "1-2-0003 FIRST ONE\n1-2-0004 SECOND\n");
  const auto files = open_dataset("audio:" + folder.path().string());
  EXPECT_EQ(files->transcript(0), "FIRST ONE");
  EXPECT_EQ(files->transcript(1), "SECOND");
  EXPECT_EQ(files->transcript(2), "plain text");
  testing::write_file(folder / "all.tsv",
                      folder.path().string() + "\nplain.wav\t800\tanother text\n1-2-0004.wav\t800\n");
  const auto manifest = open_dataset("audio:" + (folder / "all.tsv").string());
  EXPECT_EQ(manifest->transcript(0), "another text");
  EXPECT_EQ(manifest->transcript(1), "SECOND");
}

TEST(Transcripts, TokensOfCharactersAndWords) {
  EXPECT_THAT(split_transcript("a b\xc3\xa9", "char"), ElementsAre("a", "|", "b", "\xc3\xa9"));
  EXPECT_THAT(split_transcript("one two", "word"), ElementsAre("one", "two"));
  EXPECT_THROW(split_transcript("\xff", "char"), Error);
  EXPECT_EQ(join_tokens({"a", "|", "b"}, "char"), "a b");
  EXPECT_EQ(join_tokens({"one", "two"}, "word"), "one two");
  const TranscriptConfig said{.unit = "char", .words = {"ab", "b"}};  // Tones are labelled even, odd
  const auto tones = std::make_shared<Tones>(4);
  EXPECT_THAT(collect_tokens(*tones, said), ElementsAre("a", "b"));
  const auto tokens = with_tokens(tones, {"a", "b"}, said);
  EXPECT_THAT(*tokens->get(0).tokens, ElementsAre(0, 1));
  EXPECT_THAT(*tokens->get(1).tokens, ElementsAre(1));
  EXPECT_THROW(with_tokens(tones, {"a"}, said), Error);     // "b" is no token
  EXPECT_THROW(with_tokens(tones, {"a", "b"}, {}), Error);  // nobody says what they say
  const AudioTransform transform({.crop = "longest", .min_samples = 0});
  Loader loader(tokens, transform.evaluating(),
                {.batch_size = 2, .workers = 0, .shuffle = false, .drop_last = false});
  EXPECT_TRUE(loader.next().tokens.equal(torch::tensor({0, 1, 1, -1}, torch::kLong).view({2, 2})));
}

TEST(KaldiFeatures, ShortAndSilentSoundsAreFinite) {
  EXPECT_EQ(kaldi_mfcc(torch::zeros({399}), {}).size(0), 0);
  const auto silence = mfcc_with_deltas(torch::zeros({1600}), {});
  EXPECT_EQ(silence.sizes(), (std::vector<int64_t>{8, 39}));
  EXPECT_TRUE(silence.isfinite().all().item<bool>());
}

}  // namespace
}  // namespace lacuna::data
