#include "lacuna/data/subset.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "lacuna/core/draws.h"
#include "lacuna/core/error.h"

namespace lacuna::data {

std::map<int64_t, std::vector<int64_t>> shuffled_by_label(const Dataset& dataset, std::string_view name,
                                                          uint64_t seed) {
  std::map<int64_t, std::vector<int64_t>> out;
  for (int64_t i = 0; i < dataset.size(); ++i) out[dataset.label(i)].push_back(i);
  for (auto& [label, rows] : out) {
    auto order = Stream(seed, name, static_cast<uint64_t>(label)).permutation(std::ssize(rows));
    for (int64_t& place : order) place = rows[static_cast<size_t>(place)];
    rows = std::move(order);
  }
  return out;
}

std::shared_ptr<Dataset> balanced_subset(std::shared_ptr<Dataset> whole, int64_t limit, uint64_t seed) {
  if (limit == 0 || limit >= whole->size()) return whole;
  const auto members = shuffled_by_label(*whole, "eval.subset", seed);
  std::vector<int64_t> taken;
  for (size_t round = 0; std::ssize(taken) < limit; ++round)  // one of each class in turn
    for (const auto& [label, rows] : members)
      if (round < rows.size() && std::ssize(taken) < limit) taken.push_back(rows[round]);
  std::sort(taken.begin(), taken.end());
  return subset(std::move(whole), std::move(taken));
}

std::shared_ptr<Dataset> label_subset(std::shared_ptr<Dataset> whole, double share, uint64_t seed) {
  if (!(share > 0 && share <= 1))
    fail("share of the labels", str("is ", share),
         "give more than 0 and at most 1, as 0.01 for one in a hundred");
  std::vector<int64_t> taken;
  for (const auto& [label, rows] : shuffled_by_label(*whole, "label_subset", seed)) {
    if (label == kNoLabel) continue;
    const auto count = std::max<int64_t>(std::llround(share * static_cast<double>(rows.size())), 1);
    taken.insert(taken.end(), rows.begin(), rows.begin() + count);
  }
  if (taken.empty()) fail(whole->uri(), "has no labels", "use a set with class folders or labelled records");
  std::sort(taken.begin(), taken.end());
  return subset(std::move(whole), std::move(taken));
}

}  // namespace lacuna::data
