#pragma once
// Line charts as inline SVG, coloured by the page's style sheet, readable without a script.

#include <string>
#include <vector>

#include "lacuna/eval/report_run.h"

namespace lacuna::eval {

/// Text made safe for HTML and attributes; bytes that are no UTF-8 become U+FFFD.
std::string escape_html(const std::string& text);

/// "0.00025", "1.32", "12.5k": at most three digits that matter.
std::string short_number(double value);
/// 0.4123 -> "41.2 %".
std::string percent(double share);

/// Tick positions, evenly spaced at 1, 2 or 5 times a power of ten, that cover [low, high] with about `count`
/// steps.
std::vector<double> nice_ticks(double low, double high, int count);

struct Series {
  std::string run, curve;  ///< curve: "" in charts that draw one curve for each run
  size_t color = 0;        ///< number of the run
  bool dashed = false;     ///< a reference, such as chance
  std::vector<Point> points;
  std::string label() const { return curve.empty() ? run : run + ", " + curve; }
};

struct Chart {
  std::string title, note;   ///< note: one plain sentence below the title
  std::string x = "step";    ///< what runs along the axis
  bool shares = false;       ///< values are shares, shown as percentages
  bool log_if_wide = false;  ///< logarithmic when values span more than a factor of 50
  std::vector<Series> series;
};

/// A <figure>: caption with legend, axes with ticks, one line a series, a hover title at points; long series
/// are drawn as means with a band from least to greatest. "" when no series has a point.
std::string render_chart(const Chart& chart);

}  // namespace lacuna::eval
