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

namespace {

/// The first count(size of the class) records of each class, as shuffled under `name`.
template <class Count>
std::shared_ptr<Dataset> first_of_each(std::shared_ptr<Dataset> whole, std::string_view name, uint64_t seed,
                                       Count count) {
  std::vector<int64_t> taken;
  for (const auto& [label, rows] : shuffled_by_label(*whole, name, seed))
    if (label != kNoLabel) taken.insert(taken.end(), rows.begin(), rows.begin() + count(std::ssize(rows)));
  if (taken.empty()) fail(whole->uri(), "has no labels", "use a set with class folders or labelled records");
  std::sort(taken.begin(), taken.end());
  return subset(std::move(whole), std::move(taken));
}

}  // namespace

std::shared_ptr<Dataset> label_subset(std::shared_ptr<Dataset> whole, double share, uint64_t seed) {
  if (!(share > 0 && share <= 1))
    fail("share of the labels", str("is ", share),
         "give more than 0 and at most 1, as 0.01 for one in a hundred");
  return first_of_each(std::move(whole), "label_subset", seed, [share](int64_t size) {
    return std::max<int64_t>(std::llround(share * static_cast<double>(size)), 1);
  });
}

std::shared_ptr<Dataset> few_shots(std::shared_ptr<Dataset> whole, int64_t shots, uint64_t seed) {
  return first_of_each(std::move(whole), "few_shots", seed,
                       [shots](int64_t size) { return std::min(shots, size); });
}

std::pair<int64_t, int64_t> class_range(const std::string& part, int64_t classes) {
  const int64_t half = (classes + 1) / 2;
  if (part == "base") return {0, half};
  if (part == "new") return {half, classes};
  return {0, classes};
}

std::shared_ptr<Dataset> class_half(std::shared_ptr<Dataset> whole, const std::string& part) {
  if (part == "all") return whole;
  const auto [from, to] = class_range(part, std::ssize(whole->classes()));
  std::vector<int64_t> taken;
  for (int64_t i = 0; i < whole->size(); ++i)
    if (whole->label(i) >= from && whole->label(i) < to) taken.push_back(i);
  if (taken.empty())
    fail(whole->uri(), str("has no record of the ", part, " classes"), "use data with labels");
  return subset(std::move(whole), std::move(taken));
}

}  // namespace lacuna::data
