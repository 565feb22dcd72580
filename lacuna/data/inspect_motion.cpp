// lacuna inspect of motions: recordings, frames, rate, joints, extent, classes, broken files.

#include <ATen/ATen.h>

#include <algorithm>

#include "lacuna/core/error.h"
#include "lacuna/data/inspect.h"
#include "lacuna/data/motion.h"

namespace lacuna::data {
namespace {

constexpr size_t kListed = 20;

struct Recording {
  std::string key, why;
  int64_t frames = 0, joints = 0;
  double rate = 0, height = 0;
};

Recording measure(const Dataset& dataset, int64_t index) {
  Recording out;
  try {
    const Record record = dataset.get(index);
    out.key = record.key;
    const auto motion = decode_motion(record);
    out.frames = motion.frames(), out.joints = motion.positions.size(1), out.rate = motion.rate;
    const auto up = motion.positions.select(2, 2);
    out.height = (up.amax(1) - up.amin(1)).median().item<double>();
  } catch (const Error& error) {
    out.why = error.what();
  }
  return out;
}

Inspection inspect(const Dataset& dataset, int64_t limit, int64_t workers) {
  const int64_t count = limit > 0 ? std::min(limit, dataset.size()) : dataset.size();
  std::vector<Recording> all(static_cast<size_t>(count));
  parallel(count, std::max<int64_t>(1, workers),
           [&](int64_t i) { all[static_cast<size_t>(i)] = measure(dataset, i * dataset.size() / count); });
  std::map<std::string, int64_t> joints, rates;
  std::vector<std::string> broken;
  std::vector<int64_t> frames;
  std::vector<double> heights;
  for (const auto& one : all) {
    if (!one.why.empty()) {
      broken.push_back(one.why);
      continue;
    }
    ++joints[str(one.joints)];
    ++rates[one.rate > 0 ? str(one.rate) : "unknown"];
    frames.push_back(one.frames);
    heights.push_back(one.height);
  }
  std::sort(frames.begin(), frames.end());
  std::sort(heights.begin(), heights.end());
  Inspection out;
  out.json = {{"uri", dataset.uri()},
              {"count", dataset.size()},
              {"read", frames.size()},
              {"joints", joints},
              {"rates", rates},
              {"classes", dataset.classes()},
              {"broken_count", broken.size()},
              {"broken",
               std::vector<std::string>(broken.begin(), broken.begin() + static_cast<std::ptrdiff_t>(std::min(
                                                                             broken.size(), kListed)))}};
  out.text = str("data       ", dataset.uri(), "\nrecordings ", dataset.size(), "\n");
  if (!frames.empty()) {
    out.json["min_frames"] = frames.front(), out.json["max_frames"] = frames.back();
    out.json["median_frames"] = frames[frames.size() / 2];
    out.json["median_height"] = heights[heights.size() / 2];
    out.text +=
        str("frames     ", frames.front(), " to ", frames.back(), ", median ", frames[frames.size() / 2],
            "\nheight     ", heights[heights.size() / 2], " from lowest to highest joint, median\n");
  }
  const auto list = [&](const char* title, const std::map<std::string, int64_t>& counts) {
    out.text += title;
    for (const auto& [name, number] : counts) out.text += str(name, " (", number, ") ");
    out.text += "\n";
  };
  list("joints     ", joints);
  list("rates      ", rates);
  out.text += str("classes    ", dataset.classes().size(), "\nbroken     ", broken.size());
  for (size_t i = 0; i < std::min(broken.size(), kListed); ++i) out.text += "\n           " + broken[i];
  return out;
}

const Register<Inspector> registered{"motion", {inspect}};

}  // namespace
}  // namespace lacuna::data
