#pragma once

#include <vector>

namespace lacuna::eval {

/// Pearson's correlation of paired numbers, in [-1, 1]; 0 where one side does not vary.
double pearson(const std::vector<double>& x, const std::vector<double>& y);

}  // namespace lacuna::eval
