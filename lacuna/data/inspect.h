#pragma once
// What is in a data set; its figures are what normalisation uses.

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lacuna/data/dataset.h"
#include "lacuna/data/parallel.h"
#include "lacuna/data/transform.h"

namespace lacuna::data {

/// Figures of the records that were read. Sizes in pixels.
struct DataReport {
  std::string uri;
  int64_t count = 0, read = 0;  ///< records, and those of them that were decoded
  int64_t min_height = 0, max_height = 0, min_width = 0, max_width = 0;
  double median_height = 0, median_width = 0;
  std::map<int64_t, int64_t> channels;       ///< channel count -> pictures
  std::map<std::string, int64_t> formats;    ///< "jpeg 8 bit" -> pictures
  int64_t main_channels = 0;                 ///< what most pictures have; RGBA counts as 3, grey + alpha as 1
  std::vector<double> low, high, mean, std;  ///< by channel, in units of [0, 1]
  std::vector<std::string> classes;
  std::vector<int64_t> class_count;
  std::vector<std::string> broken;  ///< "key: why"; the first hundred
  int64_t broken_count = 0;
  nlohmann::json to_json() const;  ///< every figure by its member's name
  std::string to_text() const;     ///< lines for a person
  /// The measured mean and deviation as the transform wants them.
  Normalization normalization() const { return {mean, std}; }
};

/// Reads at most `limit` records (0 = all), evenly spread, with `workers` threads. Pictures whose channels
/// are not `channels` (0 = main_channels) are converted as training would. Exact sums in double; the same for
/// any `workers`.
DataReport inspect_dataset(const Dataset& dataset, int64_t limit = 0, int64_t channels = 0,
                           int64_t workers = 2, const io::ImageLimits& limits = {});

/// What `lacuna inspect` says of a data set of one modality.
struct Inspection {
  nlohmann::json json;
  std::string text;
};

/// [{"name", "count"}] by label, over all records; empty without labels.
nlohmann::json classes_with_counts(const Dataset& dataset);

/// Registered by a modality's name, in its own file.
struct Inspector {
  static const char* noun() { return "modality of data"; }
  std::function<Inspection(const Dataset& dataset, int64_t limit, int64_t workers)> inspect;
};

}  // namespace lacuna::data
