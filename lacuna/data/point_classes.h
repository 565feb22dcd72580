#pragma once
// Names of the labels of points.

#include <string>
#include <vector>

#include "lacuna/data/dataset.h"

namespace lacuna::data {

/// A set whose points are labelled implements this beside Dataset.
class PointClasses {
 public:
  virtual ~PointClasses() = default;
  /// Names of io::Points::labels from 0 on; empty: they have none.
  virtual std::vector<std::string> point_classes() const = 0;
};

/// Those of a set, or of what it is a part of; empty when its points' labels have no names.
std::vector<std::string> point_classes(const Dataset& dataset);

}  // namespace lacuna::data
