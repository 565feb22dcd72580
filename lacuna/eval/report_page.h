#pragma once
// The sections of a report and the page around them.

#include <string>
#include <vector>

#include "lacuna/eval/report_run.h"

namespace lacuna::eval {

using Runs = std::vector<RunData>;

/// Each returns a <section>, or "" when no run has anything for it.
std::string summary_section(const Runs& runs);
std::string preview_section(const Runs& runs);
std::string curve_section(const Runs& runs);
std::string evaluation_section(const Runs& runs);
std::string config_section(const Runs& runs);

/// A coloured dot and the run's name; `index` is the run's number on the page.
std::string run_label(const Runs& runs, size_t index);
/// The document around `body`: head, style sheet, title.
std::string page(const std::string& title, const std::string& body);

}  // namespace lacuna::eval
