#pragma once
// Parts of a data set chosen by seed, class by class. Each is a set of its own, in the whole's order.

#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "lacuna/data/dataset.h"

namespace lacuna::data {

/// The records of each label (kNoLabel among them), each class shuffled by Stream(seed, name, label).
std::map<int64_t, std::vector<int64_t>> shuffled_by_label(const Dataset& dataset, std::string_view name,
                                                          uint64_t seed);

/// At most `limit` records (0: all), as evenly over the classes as they allow.
std::shared_ptr<Dataset> balanced_subset(std::shared_ptr<Dataset> whole, int64_t limit, uint64_t seed);

/// The records whose labels may be learnt from when only `share` of them may: that share of every class,
/// rounded, at least one. 0 < share <= 1. Records without a label are left out. One seed's smaller subset is
/// part of its larger ones. Hold out first: what it is taken of should hold no test record.
std::shared_ptr<Dataset> label_subset(std::shared_ptr<Dataset> whole, double share, uint64_t seed);

}  // namespace lacuna::data
