#include "lacuna/io/audio.h"

#include <sndfile.h>
#include <soxr.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "lacuna/core/error.h"

namespace lacuna::io {

namespace {

constexpr int64_t kBlock = 1 << 16;  // frames decoded at once

/// A file in memory, as libsndfile reads and writes one.
struct Memory {
  Bytes in;
  std::string out;
  sf_count_t position = 0;

  sf_count_t size() const { return static_cast<sf_count_t>(out.empty() ? in.size() : out.size()); }
};

sf_count_t length_of(void* user) { return static_cast<Memory*>(user)->size(); }

sf_count_t seek_in(sf_count_t offset, int whence, void* user) {
  auto& memory = *static_cast<Memory*>(user);
  const sf_count_t from = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? memory.position : memory.size();
  memory.position = std::max<sf_count_t>(0, from + offset);
  return memory.position;
}

sf_count_t read_from(void* to, sf_count_t count, void* user) {
  auto& memory = *static_cast<Memory*>(user);
  const auto end = static_cast<sf_count_t>(memory.in.size());
  count = std::clamp<sf_count_t>(end - memory.position, 0, count);
  if (count > 0) std::memcpy(to, memory.in.data() + memory.position, static_cast<size_t>(count));
  memory.position += count;
  return count;
}

sf_count_t write_to(const void* from, sf_count_t count, void* user) {
  auto& memory = *static_cast<Memory*>(user);
  const auto begin = static_cast<size_t>(memory.position), size = static_cast<size_t>(count);
  if (memory.out.size() < begin + size) memory.out.resize(begin + size);
  std::memcpy(memory.out.data() + begin, from, size);
  memory.position += count;
  return count;
}

sf_count_t tell_in(void* user) { return static_cast<Memory*>(user)->position; }

SF_VIRTUAL_IO kMemoryFile{length_of, seek_in, read_from, write_to, tell_in};

struct Close {
  void operator()(SNDFILE* file) const { sf_close(file); }
};
using File = std::unique_ptr<SNDFILE, Close>;

File open_to_read(Memory& memory, SF_INFO& info, const std::string& name) {
  if (memory.in.empty()) fail(name, "is empty", "remove it");
  File file(sf_open_virtual(&kMemoryFile, SFM_READ, &info, &memory));
  if (!file)
    fail(name, str("is no sound file that can be read (", sf_strerror(nullptr), ")"),
         "give WAV, FLAC, MP3 or OGG");
  if (info.channels < 1 || info.samplerate < 1)
    fail(name, "has a header without channels or rate", "repair or remove it");
  return file;
}

std::string format_name(int format) {
  switch (format & SF_FORMAT_TYPEMASK) {
    case SF_FORMAT_WAV:
    case SF_FORMAT_WAVEX:
      return "wav";
    case SF_FORMAT_FLAC:
      return "flac";
    case SF_FORMAT_OGG:
      return "ogg";
    case SF_FORMAT_MPEG:
      return "mp3";
    default:
      break;
  }
  SF_FORMAT_INFO info{};
  info.format = format & SF_FORMAT_TYPEMASK;
  sf_command(nullptr, SFC_GET_FORMAT_INFO, &info, sizeof info);
  std::string name = info.extension ? info.extension : "other";
  return name;
}

int64_t bits_of(int format) {
  switch (format & SF_FORMAT_SUBMASK) {
    case SF_FORMAT_PCM_S8:
    case SF_FORMAT_PCM_U8:
      return 8;
    case SF_FORMAT_PCM_16:
      return 16;
    case SF_FORMAT_PCM_24:
      return 24;
    case SF_FORMAT_PCM_32:
    case SF_FORMAT_FLOAT:
      return 32;
    case SF_FORMAT_DOUBLE:
      return 64;
    default:
      return 0;
  }
}

}  // namespace

AudioInfo probe_audio(Bytes bytes, const std::string& name) {
  Memory memory{bytes, {}, 0};
  SF_INFO info{};
  const File file = open_to_read(memory, info, name);
  return {format_name(info.format), info.frames, info.samplerate, info.channels, bits_of(info.format)};
}

Audio decode_audio(Bytes bytes, const std::string& name, const AudioLimits& limits) {
  Memory memory{bytes, {}, 0};
  SF_INFO info{};
  const File file = open_to_read(memory, info, name);
  const int64_t most = limits.max_samples / info.channels, channels = info.channels;
  const auto too_long = [&] {
    fail(name, str("holds more than ", limits.max_samples, " samples"), "cut it into shorter clips");
  };
  Audio out;
  out.sample_rate = info.samplerate;
  std::vector<float> block(static_cast<size_t>(kBlock * channels));
  // The header's count is not believed: some files are cut short, streams do not know theirs.
  for (;;) {
    const int64_t frames = sf_readf_float(file.get(), block.data(), kBlock);
    if (frames <= 0) break;
    if (std::ssize(out.samples) + frames > most) too_long();
    for (int64_t i = 0; i < frames; ++i) {
      float sum = 0;
      for (int64_t c = 0; c < channels; ++c) sum += block[static_cast<size_t>(i * channels + c)];
      out.samples.push_back(sum / static_cast<float>(channels));
    }
  }
  if (out.samples.empty()) fail(name, "holds no samples", "remove it");
  if (!std::all_of(out.samples.begin(), out.samples.end(), [](float x) { return std::isfinite(x); }))
    fail(name, "holds values that are not finite", "repair or remove it");
  return out;
}

Audio resample(const Audio& audio, int64_t sample_rate) {
  if (audio.sample_rate == sample_rate) return audio;
  const auto from = static_cast<double>(audio.sample_rate), to = static_cast<double>(sample_rate);
  Audio out;
  out.sample_rate = sample_rate;
  out.samples.resize(static_cast<size_t>(
      std::max<int64_t>(1, std::llround(static_cast<double>(audio.samples.size()) * to / from))));
  size_t done = 0;
  const soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
  const soxr_runtime_spec_t runtime = soxr_runtime_spec(1);
  const auto error = soxr_oneshot(from, to, 1, audio.samples.data(), audio.samples.size(), nullptr,
                                  out.samples.data(), out.samples.size(), &done, nullptr, &quality, &runtime);
  LACUNA_ASSERT(!error);
  std::fill(out.samples.begin() + static_cast<std::ptrdiff_t>(done), out.samples.end(), 0.0F);
  return out;
}

std::string encode_wav(const Audio& audio) {
  Memory memory{{}, {}, 0};
  SF_INFO info{};
  info.samplerate = static_cast<int>(audio.sample_rate);
  info.channels = 1;
  info.format = SF_FORMAT_WAV | SF_FORMAT_PCM_16;
  {
    const File file(sf_open_virtual(&kMemoryFile, SFM_WRITE, &info, &memory));
    LACUNA_ASSERT(file);
    sf_command(file.get(), SFC_SET_CLIPPING, nullptr, SF_TRUE);
    sf_writef_float(file.get(), audio.samples.data(), static_cast<sf_count_t>(audio.samples.size()));
  }
  return memory.out;
}

}  // namespace lacuna::io
