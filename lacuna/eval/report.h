#pragma once
// One page that says how runs went: verdicts, pictures, curves, evaluations, configs.

#include <string>
#include <vector>

#include "lacuna/io/file.h"

namespace lacuna::eval {

/// A self-contained HTML page (nothing is loaded from elsewhere, no script) about one run or several beside
/// each other. What is missing or broken in a run is said in its card; Error when a path is no folder or
/// there is no run at all.
std::string render_report(const std::vector<io::fs::path>& runs);

}  // namespace lacuna::eval
