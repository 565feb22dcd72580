#include "lacuna/data/inspect.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <limits>

#include "lacuna/core/error.h"

namespace lacuna::data {

namespace {

constexpr size_t kListedBroken = 100, kListedClasses = 20;

/// Figures of one picture; `why` says what is wrong with it.
struct Picture {
  std::string key, why, format;
  int64_t height = 0, width = 0, stored_channels = 0;
  std::vector<double> low, high, sum, sum_of_squares;  ///< by channel, in units of [0, 1]
};

/// Size, channels and format, without decoding.
void read_header(const Record& record, Picture& out) {
  out.key = record.key;
  if (const auto* image = std::get_if<io::Image>(&record.content)) {
    out.height = image->height(), out.width = image->width(), out.stored_channels = image->channels();
    out.format = image->pixels.scalar_type() == at::kByte ? "pixels 8 bit" : "pixels float";
    return;
  }
  const io::ImageInfo info = io::probe_image(encoded_bytes(record), record.key);
  out.height = info.height, out.width = info.width, out.stored_channels = info.channels;
  out.format = str(info.format, " ", info.bits, " bit");
}

template <class T>
void sum_pixels(const io::Image& image, Picture& out) {
  const int64_t channels = image.channels();
  const auto size = static_cast<size_t>(channels);
  out.sum.assign(size, 0), out.sum_of_squares.assign(size, 0);
  out.low.assign(size, std::numeric_limits<double>::infinity());
  out.high.assign(size, -std::numeric_limits<double>::infinity());
  const T* value = image.pixels.const_data_ptr<T>();
  for (int64_t i = 0; i < image.height() * image.width(); ++i)
    for (size_t c = 0; c < size; ++c) {
      const double x = static_cast<double>(*value++);
      out.sum[c] += x, out.sum_of_squares[c] += x * x;
      out.low[c] = std::min(out.low[c], x), out.high[c] = std::max(out.high[c], x);
    }
  for (size_t c = 0; c < size; ++c) {
    const double peak = image.peak;
    out.low[c] /= peak, out.high[c] /= peak, out.sum[c] /= peak, out.sum_of_squares[c] /= peak * peak;
    if (!std::isfinite(out.sum_of_squares[c]))
      fail(out.key, "holds values that are not finite", "repair or remove it");
  }
}

void read_pixels(const Record& record, int64_t channels, const io::ImageLimits& limits, Picture& out) {
  const io::Image image = to_channels(decode_record(record, limits), channels, record.key);
  if (image.pixels.scalar_type() == at::kByte)
    sum_pixels<uint8_t>(image, out);
  else
    sum_pixels<float>(image, out);
}

/// Runs `read`, noting in the picture what is wrong with the record.
template <class Read>
void guarded(Picture& picture, const Dataset& dataset, int64_t index, Read read) {
  try {
    const Record record = dataset.get(index);
    picture.key = record.key;
    read(record);
  } catch (const Error& error) {
    if (picture.key.empty()) picture.key = error.subject();
    picture.why = error.why();
  }
}

double median(std::vector<int64_t> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? static_cast<double>(values[half])
                                : static_cast<double>(values[half - 1] + values[half]) / 2;
}

int64_t most_frequent_channels(const std::map<int64_t, int64_t>& stored) {
  std::map<int64_t, int64_t> counts;
  for (const auto& [channels, pictures] : stored) counts[main_channels(channels)] += pictures;
  const auto most = std::max_element(counts.begin(), counts.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == counts.end() ? 0 : most->first;
}

void summarise_sizes(const std::vector<Picture>& pictures, DataReport& report) {
  std::vector<int64_t> heights, widths;
  for (const auto& picture : pictures) {
    if (picture.height == 0) continue;
    heights.push_back(picture.height), widths.push_back(picture.width);
    ++report.channels[picture.stored_channels];
    ++report.formats[picture.format];
  }
  if (heights.empty()) return;
  const auto [low_h, high_h] = std::minmax_element(heights.begin(), heights.end());
  const auto [low_w, high_w] = std::minmax_element(widths.begin(), widths.end());
  report.min_height = *low_h, report.max_height = *high_h;
  report.min_width = *low_w, report.max_width = *high_w;
  report.median_height = median(heights), report.median_width = median(widths);
}

/// Adds the pictures up in their order, so that the sums do not depend on who read them.
void summarise_pixels(const std::vector<Picture>& pictures, int64_t channels, DataReport& report) {
  const auto size = static_cast<size_t>(channels);
  std::vector<double> sum(size), sum_of_squares(size);
  report.low.assign(size, std::numeric_limits<double>::infinity());
  report.high.assign(size, -std::numeric_limits<double>::infinity());
  double pixels = 0;
  for (const auto& picture : pictures) {
    if (!picture.why.empty()) {
      ++report.broken_count;
      if (report.broken.size() < kListedBroken) report.broken.push_back(picture.key + ": " + picture.why);
      continue;
    }
    ++report.read;
    pixels += static_cast<double>(picture.height * picture.width);
    for (size_t c = 0; c < size; ++c) {
      sum[c] += picture.sum[c], sum_of_squares[c] += picture.sum_of_squares[c];
      report.low[c] = std::min(report.low[c], picture.low[c]);
      report.high[c] = std::max(report.high[c], picture.high[c]);
    }
  }
  if (report.read == 0) {
    report.low.clear(), report.high.clear();
    return;
  }
  for (size_t c = 0; c < size; ++c) {
    const double mean = sum[c] / pixels;
    report.mean.push_back(mean);
    report.std.push_back(std::sqrt(std::max(0.0, sum_of_squares[c] / pixels - mean * mean)));
  }
}

std::string numbers(const std::vector<double>& values) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(4);
  for (const double value : values) out << (out.tellp() > 0 ? "  " : "") << value;
  return out.str();
}

template <class Key>
std::string tally(const std::map<Key, int64_t>& counts) {
  std::vector<std::string> parts;
  for (const auto& [key, count] : counts) parts.push_back(str(key, " (", count, ")"));
  return join(parts);
}

/// Records of each label.
std::vector<int64_t> count_labels(const Dataset& dataset) {
  std::vector<int64_t> out(dataset.classes().size());
  for (int64_t i = 0; i < dataset.size() && !out.empty(); ++i)
    if (const int64_t label = dataset.label(i); label != kNoLabel) ++out[static_cast<size_t>(label)];
  return out;
}

nlohmann::json named_counts(const std::vector<std::string>& names, const std::vector<int64_t>& counts) {
  nlohmann::json out = nlohmann::json::array();
  for (size_t i = 0; i < names.size(); ++i) out.push_back({{"name", names[i]}, {"count", counts[i]}});
  return out;
}

}  // namespace

nlohmann::json classes_with_counts(const Dataset& dataset) {
  return named_counts(dataset.classes(), count_labels(dataset));
}

DataReport inspect_dataset(const Dataset& dataset, int64_t limit, int64_t channels, int64_t workers,
                           const io::ImageLimits& limits) {
  DataReport report;
  report.uri = dataset.uri();
  report.count = dataset.size();
  const int64_t sampled = limit > 0 ? std::min(limit, report.count) : report.count;
  const auto index_of = [&](int64_t i) {
    return static_cast<int64_t>(static_cast<__int128>(i) * report.count / sampled);
  };

  std::vector<Picture> pictures(static_cast<size_t>(sampled));
  parallel(sampled, workers, [&](int64_t i) {
    Picture& picture = pictures[static_cast<size_t>(i)];
    guarded(picture, dataset, index_of(i), [&](const Record& record) { read_header(record, picture); });
  });
  summarise_sizes(pictures, report);
  report.main_channels = most_frequent_channels(report.channels);
  const int64_t asked = channels > 0 ? channels : report.main_channels;
  parallel(sampled, workers, [&](int64_t i) {
    Picture& picture = pictures[static_cast<size_t>(i)];
    if (!picture.why.empty()) return;
    guarded(picture, dataset, index_of(i),
            [&](const Record& record) { read_pixels(record, asked, limits, picture); });
  });
  summarise_pixels(pictures, asked, report);

  report.classes = dataset.classes();
  report.class_count = count_labels(dataset);
  return report;
}

nlohmann::json DataReport::to_json() const {
  nlohmann::json by_channels = nlohmann::json::object();
  for (const auto& [stored, pictures] : channels) by_channels[std::to_string(stored)] = pictures;
  return {{"kind", "data"},
          {"uri", uri},
          {"count", count},
          {"read", read},
          {"height", {{"min", min_height}, {"median", median_height}, {"max", max_height}}},
          {"width", {{"min", min_width}, {"median", median_width}, {"max", max_width}}},
          {"channels", by_channels},
          {"main_channels", main_channels},
          {"formats", formats},
          {"low", low},
          {"high", high},
          {"mean", mean},
          {"std", std},
          {"classes", named_counts(classes, class_count)},
          {"broken", broken},
          {"broken_count", broken_count}};
}

std::string DataReport::to_text() const {
  std::ostringstream out;
  const auto row = [&](const char* name) -> std::ostream& {
    return out << std::left << std::setw(11) << name;
  };
  row("data") << uri << '\n';
  row("records") << count;
  if (read + broken_count < count) out << ", of which " << read + broken_count << " were read, evenly spread";
  out << '\n';
  row("height") << min_height << " to " << max_height << ", median " << median_height << '\n';
  row("width") << min_width << " to " << max_width << ", median " << median_width << '\n';
  row("formats") << tally(formats) << '\n';
  row("channels") << tally(channels) << '\n';
  row("lowest") << numbers(low) << "   (of [0, 1])\n";
  row("highest") << numbers(high) << '\n';
  row("mean") << numbers(mean) << '\n';
  row("std") << numbers(std) << '\n';
  row("classes") << (classes.empty() ? "none: the records have no labels" : std::to_string(classes.size()))
                 << '\n';
  for (size_t i = 0; i < std::min(classes.size(), kListedClasses); ++i)
    row("") << std::left << std::setw(24) << classes[i] << ' ' << class_count[i] << '\n';
  if (classes.size() > kListedClasses) row("") << "... and " << classes.size() - kListedClasses << " more\n";
  row("broken") << broken_count << '\n';
  for (const auto& line : broken) row("") << line << '\n';
  return out.str();
}

namespace {

const Register<Inspector> registered{"image", {[](const Dataset& dataset, int64_t limit, int64_t workers) {
                                       const auto report = inspect_dataset(dataset, limit, 0, workers);
                                       return Inspection{report.to_json(), report.to_text()};
                                     }}};

}  // namespace

}  // namespace lacuna::data
