// lacuna inspect of clouds: points, fields, extent, numbers that are not finite, classes, broken files.

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>

#include "lacuna/core/error.h"
#include "lacuna/data/inspect.h"
#include "lacuna/data/point_classes.h"
#include "lacuna/data/points.h"

namespace lacuna::data {
namespace {

constexpr size_t kListed = 20;

struct Cloud {
  std::string why, fields;
  int64_t points = 0, not_finite = 0;
  bool labels = false;
  std::map<int32_t, int64_t> classes;  ///< points of each label
  std::array<double, 3> low, high;
};

Cloud measure(const Dataset& dataset, int64_t index) {
  Cloud out;
  out.low.fill(std::numeric_limits<double>::infinity()),
      out.high.fill(-std::numeric_limits<double>::infinity());
  try {
    const auto cloud = decode_points(dataset.get(index));
    out.points = cloud.count(), out.fields = join(cloud.fields), out.labels = !cloud.labels.empty();
    for (const int32_t label : cloud.labels) ++out.classes[label];
    const size_t F = cloud.fields.size();
    for (size_t i = 0; i < cloud.values.size(); i += F) {
      if (!std::all_of(&cloud.values[i], &cloud.values[i] + F, [](float v) { return std::isfinite(v); })) {
        ++out.not_finite;
        continue;
      }
      for (size_t axis = 0; axis < 3; ++axis) {
        out.low[axis] = std::min<double>(out.low[axis], cloud.values[i + axis]);
        out.high[axis] = std::max<double>(out.high[axis], cloud.values[i + axis]);
      }
    }
  } catch (const Error& error) {
    out.why = error.what();
  }
  return out;
}

/// Figures of all clouds that could be read.
struct Summary {
  std::map<std::string, int64_t> fields;
  std::map<int32_t, int64_t> classes;
  std::vector<int64_t> points;
  int64_t not_finite = 0, labelled = 0;
  std::array<double, 3> low, high;
  std::vector<std::string> broken;
};

Summary summarise(const std::vector<Cloud>& all) {
  Summary out;
  out.low.fill(std::numeric_limits<double>::infinity()),
      out.high.fill(-std::numeric_limits<double>::infinity());
  for (const auto& one : all) {
    if (!one.why.empty()) {
      out.broken.push_back(one.why);
      continue;
    }
    ++out.fields[one.fields];
    for (const auto& [label, count] : one.classes) out.classes[label] += count;
    out.points.push_back(one.points);
    out.not_finite += one.not_finite, out.labelled += one.labels ? 1 : 0;
    for (size_t axis = 0; axis < 3; ++axis) {
      out.low[axis] = std::min(out.low[axis], one.low[axis]);
      out.high[axis] = std::max(out.high[axis], one.high[axis]);
    }
  }
  std::sort(out.points.begin(), out.points.end());
  return out;
}

/// [{"name", "count"}] of the labels of points.
nlohmann::json counts_of_points(const Dataset& dataset, const std::map<int32_t, int64_t>& counts) {
  const auto names = point_classes(dataset);
  auto out = nlohmann::json::array();
  for (const auto& [label, count] : counts) {
    std::string name = label < 0 ? "no label" : std::to_string(label);
    if (label >= 0 && label < std::ssize(names)) name = names[static_cast<size_t>(label)];
    out.push_back({{"name", name}, {"count", count}});
  }
  return out;
}

Inspection inspect(const Dataset& dataset, int64_t limit, int64_t workers) {
  const int64_t count = limit > 0 ? std::min(limit, dataset.size()) : dataset.size();
  std::vector<Cloud> all(static_cast<size_t>(count));
  parallel(count, std::max<int64_t>(1, workers),
           [&](int64_t i) { all[static_cast<size_t>(i)] = measure(dataset, i * dataset.size() / count); });
  const auto sum = summarise(all);
  const size_t listed = std::min(sum.broken.size(), kListed);
  Inspection out;
  out.json = {{"kind", "data"},
              {"uri", dataset.uri()},
              {"count", dataset.size()},
              {"read", sum.points.size()},
              {"fields", sum.fields},
              {"not_finite", sum.not_finite},
              {"labelled_points", sum.labelled},
              {"point_classes", counts_of_points(dataset, sum.classes)},
              {"classes", classes_with_counts(dataset)},
              {"broken_count", sum.broken.size()},
              {"broken", std::vector<std::string>(sum.broken.begin(),
                                                  sum.broken.begin() + static_cast<std::ptrdiff_t>(listed))}};
  out.text = str("data       ", dataset.uri(), "\nclouds     ", dataset.size(), "\n");
  if (!sum.points.empty()) {
    const int64_t median = sum.points[sum.points.size() / 2];
    out.json["min_points"] = sum.points.front(), out.json["max_points"] = sum.points.back();
    out.json["median_points"] = median;
    out.text += str("points     ", sum.points.front(), " to ", sum.points.back(), ", median ", median, "\n");
    for (const auto& [fields, number] : sum.fields)
      out.text += str("fields     ", fields, " (", number, ")\n");
    if (sum.low[0] <= sum.high[0]) {
      out.json["low"] = sum.low, out.json["high"] = sum.high;
      for (size_t axis = 0; axis < 3; ++axis)
        out.text += str("xyz"[axis], "          ", sum.low[axis], " to ", sum.high[axis], "\n");
    }
    out.text += str("not finite ", sum.not_finite, " points, which are left out\n");
    out.text += str("labels     of points in ", sum.labelled, " clouds\n");
    for (const auto& one : out.json["point_classes"])
      out.text += str("           ", one["name"].get<std::string>(), ": ", one["count"].dump(), "\n");
  }
  out.text += str("classes    ", dataset.classes().size(), "\nbroken     ", sum.broken.size());
  for (size_t i = 0; i < listed; ++i) out.text += "\n           " + sum.broken[i];
  return out;
}

const Register<Inspector> registered{"points", {inspect}};

}  // namespace
}  // namespace lacuna::data
