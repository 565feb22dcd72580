// lacuna inspect of sound: lengths, rates, loudness, silence, clipping, classes, broken files.

#include <algorithm>
#include <cmath>
#include <iomanip>

#include "lacuna/core/error.h"
#include "lacuna/data/audio.h"
#include "lacuna/data/inspect.h"

namespace lacuna::data {
namespace {

constexpr size_t kListed = 20;
constexpr float kSilence = 1e-4F, kClip = 0.9999F;  // -80 dB; a sample at the rim

struct Clip {
  std::string key, why, format;
  double seconds = 0, square = 0;
  int64_t samples = 0, rate = 0, channels = 1, clipped = 0;
  float peak = 0;
};

void read_clip(const Record& record, Clip& clip) {
  if (std::holds_alternative<io::Audio>(record.content)) {
    clip.format = "samples";
  } else {
    const auto info = io::probe_audio(encoded_bytes(record), record.key);
    clip.format = info.bits > 0 ? str(info.format, " ", info.bits, " bit") : info.format;
    clip.channels = info.channels;
  }
  const auto* held = std::get_if<io::Audio>(&record.content);
  const io::Audio audio = held ? *held : io::decode_audio(encoded_bytes(record), record.key);
  clip.rate = audio.sample_rate;
  clip.samples = std::ssize(audio.samples);
  clip.seconds = static_cast<double>(clip.samples) / static_cast<double>(clip.rate);
  for (const float x : audio.samples) {
    clip.square += static_cast<double>(x) * x;
    clip.peak = std::max(clip.peak, std::abs(x));
    clip.clipped += std::abs(x) >= kClip;
  }
}

std::string decibels(double square) {
  if (square <= 0) return "silence";
  std::ostringstream out;
  out << std::fixed << std::setprecision(1) << 10 * std::log10(square) << " dB";
  return out.str();
}

nlohmann::json report_of(const Dataset& dataset, std::vector<Clip> clips) {
  std::map<std::string, int64_t> formats, rates, channels;
  std::vector<double> seconds;
  std::vector<std::string> broken, silent;
  double square = 0, samples = 0, total = 0;
  int64_t broken_count = 0, silent_count = 0, clipped = 0;
  for (const auto& clip : clips) {
    if (!clip.why.empty()) {
      if (++broken_count <= static_cast<int64_t>(kListed)) broken.push_back(clip.key + ": " + clip.why);
      continue;
    }
    ++formats[clip.format], ++rates[std::to_string(clip.rate)], ++channels[std::to_string(clip.channels)];
    seconds.push_back(clip.seconds);
    total += clip.seconds, square += clip.square, samples += static_cast<double>(clip.samples);
    clipped += clip.clipped > 0;
    if (clip.peak < kSilence && ++silent_count <= static_cast<int64_t>(kListed)) silent.push_back(clip.key);
  }
  std::sort(seconds.begin(), seconds.end());
  const auto quantile = [&](double share) {
    return seconds.empty() ? 0
                           : seconds[static_cast<size_t>(share * static_cast<double>(seconds.size() - 1))];
  };
  return {
      {"kind", "audio"},
      {"uri", dataset.uri()},
      {"count", dataset.size()},
      {"read", seconds.size()},
      {"seconds", {{"min", quantile(0)}, {"median", quantile(0.5)}, {"max", quantile(1)}, {"total", total}}},
      {"sample_rates", rates},
      {"channels", channels},
      {"formats", formats},
      {"rms", samples > 0 ? std::sqrt(square / samples) : 0},
      {"clipped", clipped},
      {"silent", silent},
      {"silent_count", silent_count},
      {"classes", classes_with_counts(dataset)},
      {"broken", broken},
      {"broken_count", broken_count}};
}

std::string tally(const nlohmann::json& counts, const std::string& unit = "") {
  std::vector<std::string> parts;
  for (const auto& [name, count] : counts.items()) parts.push_back(str(name, unit, " (", count, ")"));
  return join(parts);
}

std::string text_of(const nlohmann::json& report) {
  std::ostringstream out;
  const auto row = [&](const char* name) -> std::ostream& {
    return out << std::left << std::setw(11) << name;
  };
  const auto& seconds = report["seconds"];
  const double rms = report["rms"];
  row("data") << report["uri"].get<std::string>() << '\n';
  row("records") << report["count"] << ", " << report["read"] << " read\n";
  row("seconds") << seconds["min"] << " to " << seconds["max"] << ", median " << seconds["median"] << ", "
                 << seconds["total"].get<double>() / 3600 << " hours in all\n";
  row("rates") << tally(report["sample_rates"], " Hz") << '\n';
  row("formats") << tally(report["formats"]) << '\n';
  row("channels") << tally(report["channels"]) << '\n';
  row("loudness") << decibels(rms * rms) << " below full scale, " << report["clipped"]
                  << " records touch full scale\n";
  row("silent") << report["silent_count"] << '\n';
  for (const auto& key : report["silent"]) row("") << key.get<std::string>() << '\n';
  const auto& classes = report["classes"];
  row("classes") << (classes.empty() ? "none: the records have no labels" : std::to_string(classes.size()))
                 << '\n';
  for (size_t i = 0; i < std::min(classes.size(), kListed); ++i)
    row("") << std::left << std::setw(24) << classes[i]["name"].get<std::string>() << ' '
            << classes[i]["count"] << '\n';
  if (classes.size() > kListed) row("") << "... and " << classes.size() - kListed << " more\n";
  row("broken") << report["broken_count"] << '\n';
  for (const auto& line : report["broken"]) row("") << line.get<std::string>() << '\n';
  return out.str();
}

Inspection inspect_audio(const Dataset& dataset, int64_t limit, int64_t workers) {
  const int64_t count = limit > 0 ? std::min(limit, dataset.size()) : dataset.size();
  std::vector<Clip> clips(static_cast<size_t>(count));
  parallel(count, workers, [&](int64_t i) {
    Clip& clip = clips[static_cast<size_t>(i)];
    try {
      const auto index = static_cast<int64_t>(static_cast<__int128>(i) * dataset.size() / count);
      const Record record = dataset.get(index);
      clip.key = record.key;
      read_clip(record, clip);
    } catch (const Error& error) {
      if (clip.key.empty()) clip.key = error.subject();
      clip.why = error.why();
    }
  });
  auto report = report_of(dataset, std::move(clips));
  return {report, text_of(report)};
}

const Register<Inspector> registered{"audio", {inspect_audio}};

}  // namespace
}  // namespace lacuna::data
