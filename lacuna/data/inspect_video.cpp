// lacuna inspect of films: sizes, lengths, rates, codecs, mean and deviation, classes, broken files.

#include "lacuna/data/inspect_video.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <iomanip>

#include "lacuna/core/error.h"
#include "lacuna/data/inspect.h"

namespace lacuna::data {
namespace {

constexpr size_t kListed = 20;
constexpr int64_t kFramesRead = 4;  // of a film, evenly spread

struct Film {
  std::string key, why, format;
  int64_t height = 0, width = 0, frames = 0;
  double rate = 0, count = 0;
  std::vector<double> low, high, sum, square;  ///< by channel, in units of [0, 1]
};

void add_pixels(const io::Image& frame, Film& film) {
  const auto pixels = frame.pixels.to(at::kDouble).view({-1, frame.channels()}).div_(frame.peak);
  const auto low = std::get<0>(pixels.min(0)), high = std::get<0>(pixels.max(0)), sum = pixels.sum(0),
             square = pixels.square().sum(0);
  const auto size = static_cast<size_t>(frame.channels());
  if (film.sum.empty()) {
    film.sum.assign(size, 0), film.square.assign(size, 0);
    film.low.assign(size, 1e9), film.high.assign(size, -1e9);
  }
  for (size_t c = 0; c < size; ++c) {
    const auto of = static_cast<int64_t>(c);
    film.sum[c] += sum[of].item<double>(), film.square[c] += square[of].item<double>();
    film.low[c] = std::min(film.low[c], low[of].item<double>());
    film.high[c] = std::max(film.high[c], high[of].item<double>());
  }
  film.count += static_cast<double>(pixels.size(0));
}

std::vector<int64_t> spread_frames(int64_t frames) {
  std::vector<int64_t> out;
  for (int64_t i = 0; i < kFramesRead; ++i) out.push_back(i * (frames - 1) / (kFramesRead - 1));
  return out;
}

void read_film(const Record& record, int64_t channels, const io::VideoLimits& limits, Film& film) {
  const auto take = [&](const io::Image& frame) {
    add_pixels(channels > 0 ? to_channels(frame, channels, record.key) : frame, film);
  };
  if (const auto* held = std::get_if<io::Video>(&record.content)) {
    film.format = "frames", film.frames = std::ssize(held->frames), film.rate = held->rate;
    film.height = held->frames[0].height(), film.width = held->frames[0].width();
    for (const int64_t number : spread_frames(film.frames)) take(held->frames[static_cast<size_t>(number)]);
    return;
  }
  io::VideoReader reader(encoded_bytes(record), record.key, limits);
  const auto& info = reader.info();
  film.format = str(info.codec, " in ", info.format), film.frames = info.frames, film.rate = info.rate;
  film.height = info.height, film.width = info.width;
  for (const auto& frame : reader.read(spread_frames(info.frames))) take(frame);
}

std::vector<Film> read_films(const Dataset& dataset, int64_t limit, int64_t channels, int64_t workers,
                             const io::VideoLimits& limits) {
  const int64_t count = limit > 0 ? std::min(limit, dataset.size()) : dataset.size();
  std::vector<Film> films(static_cast<size_t>(count));
  parallel(count, workers, [&](int64_t i) {
    Film& film = films[static_cast<size_t>(i)];
    try {
      const auto index = static_cast<int64_t>(static_cast<__int128>(i) * dataset.size() / count);
      const Record record = dataset.get(index);
      film.key = record.key;
      read_film(record, channels, limits, film);
    } catch (const Error& error) {
      if (film.key.empty()) film.key = error.subject();
      film.why = error.why();
    }
  });
  return films;
}

/// Sums over films, by channel.
struct Totals {
  double count = 0;
  std::vector<double> low, high, sum, square;

  explicit Totals(const std::vector<Film>& films) {
    for (const auto& film : films) {
      if (!film.why.empty() || film.sum.empty()) continue;
      if (sum.empty()) sum.assign(film.sum.size(), 0), square = sum, low = film.low, high = film.high;
      if (film.sum.size() != sum.size()) continue;
      count += film.count;
      for (size_t c = 0; c < sum.size(); ++c) {
        sum[c] += film.sum[c], square[c] += film.square[c];
        low[c] = std::min(low[c], film.low[c]), high[c] = std::max(high[c], film.high[c]);
      }
    }
  }
  Normalization normalization() const {
    Normalization out;
    for (size_t c = 0; c < sum.size(); ++c) {
      const double mean = sum[c] / count;
      out.mean.push_back(mean);
      out.std.push_back(std::sqrt(std::max(0.0, square[c] / count - mean * mean)));
    }
    return out;
  }
};

/// {"min", "median", "max"}
nlohmann::json quantiles(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto at = [&](double share) {
    return values.empty() ? 0 : values[static_cast<size_t>(share * static_cast<double>(values.size() - 1))];
  };
  return {{"min", at(0)}, {"median", at(0.5)}, {"max", at(1)}};
}

nlohmann::json report_of(const Dataset& dataset, const std::vector<Film>& films) {
  std::map<std::string, int64_t> formats, sizes, rates;
  std::vector<double> frames, seconds;
  std::vector<std::string> broken, short_films;
  int64_t broken_count = 0, single = 0;
  for (const auto& film : films) {
    if (!film.why.empty()) {
      if (++broken_count <= static_cast<int64_t>(kListed)) broken.push_back(film.key + ": " + film.why);
      continue;
    }
    ++formats[film.format], ++sizes[str(film.height, "x", film.width)];
    ++rates[str(std::round(film.rate * 100) / 100)];
    frames.push_back(static_cast<double>(film.frames));
    seconds.push_back(static_cast<double>(film.frames) / film.rate);
    single += film.frames == 1;
  }
  const Totals totals(films);
  const auto measured = totals.normalization();
  return {{"kind", "video"},
          {"uri", dataset.uri()},
          {"count", dataset.size()},
          {"read", frames.size()},
          {"frames", quantiles(frames)},
          {"seconds", quantiles(seconds)},
          {"rates", rates},
          {"sizes", sizes},
          {"formats", formats},
          {"low", totals.low},
          {"high", totals.high},
          {"mean", measured.mean},
          {"std", measured.std},
          {"single_frame", single},
          {"classes", classes_with_counts(dataset)},
          {"broken", broken},
          {"broken_count", broken_count}};
}

std::string tally(const nlohmann::json& counts) {
  std::vector<std::string> parts;
  for (const auto& [name, count] : counts.items()) {
    if (parts.size() == kListed) {
      parts.push_back("...");
      break;
    }
    parts.push_back(str(name, " (", count, ")"));
  }
  return join(parts);
}

std::string text_of(const nlohmann::json& report) {
  std::ostringstream out;
  const auto row = [&](const char* name) -> std::ostream& {
    return out << std::left << std::setw(11) << name;
  };
  const auto range = [&](const char* name) {
    const auto& values = report[name];
    row(name) << values["min"] << " to " << values["max"] << ", median " << values["median"] << '\n';
  };
  row("data") << report["uri"].get<std::string>() << '\n';
  row("records") << report["count"] << ", " << report["read"] << " read\n";
  range("frames"), range("seconds");
  row("rates") << tally(report["rates"]) << " frames a second\n";
  row("sizes") << tally(report["sizes"]) << '\n';
  row("formats") << tally(report["formats"]) << '\n';
  row("mean") << report["mean"] << '\n';
  row("std") << report["std"] << '\n';
  row("one frame") << report["single_frame"] << '\n';
  const auto& classes = report["classes"];
  row("classes") << (classes.empty() ? "none: the records have no labels" : std::to_string(classes.size()))
                 << '\n';
  for (size_t i = 0; i < std::min(classes.size(), kListed); ++i)
    row("") << std::left << std::setw(24) << classes[i]["name"].get<std::string>() << ' '
            << classes[i]["count"] << '\n';
  row("broken") << report["broken_count"] << '\n';
  for (const auto& line : report["broken"]) row("") << line.get<std::string>() << '\n';
  return out.str();
}

const Register<Inspector> registered{"video", {[](const Dataset& dataset, int64_t limit, int64_t workers) {
                                       const auto report =
                                           report_of(dataset, read_films(dataset, limit, 0, workers, {}));
                                       return Inspection{report, text_of(report)};
                                     }}};

}  // namespace

Normalization measure_films(const Dataset& dataset, int64_t limit, int64_t channels, int64_t workers,
                            const io::VideoLimits& limits) {
  const Totals totals(read_films(dataset, limit, channels, workers, limits));
  if (totals.count == 0)
    fail(dataset.uri(), str("none of its ", dataset.size(), " records can be read"), "see `lacuna inspect`");
  auto out = totals.normalization();
  for (double& std : out.std) std = std::max(std, 1e-3);  // films of one colour
  return out;
}

}  // namespace lacuna::data
