#pragma once
// Parts of a data set chosen by seed, class by class. Each is a set of its own, in the whole's order.

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
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

/// `shots` records of every class, or all of one that has fewer. Records without a label are left out; one
/// seed's smaller subset is part of its larger ones. Error: no labels.
std::shared_ptr<Dataset> few_shots(std::shared_ptr<Dataset> whole, int64_t shots, uint64_t seed);

/// First and one past the last label of `part` of `classes`: all; base, the first half, which is the larger;
/// new, the second (CoOp's base-to-new generalisation).
std::pair<int64_t, int64_t> class_range(const std::string& part, int64_t classes);
/// The records of these classes; labels and classes() stay those of the whole. Error: no labels.
std::shared_ptr<Dataset> class_half(std::shared_ptr<Dataset> whole, const std::string& part);

}  // namespace lacuna::data
