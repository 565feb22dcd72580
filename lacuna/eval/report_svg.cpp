#include "lacuna/eval/report_svg.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <set>

#include "lacuna/core/error.h"

namespace lacuna::eval {

namespace {

// The drawing's own units; the page scales it to its column.
constexpr double kWidth = 440, kHeight = 230, kLeft = 52, kRight = 14, kTop = 10, kBottom = 40;
constexpr size_t kMostPoints = 100;  // of a line; more are summed up in buckets
constexpr size_t kMostHovers = 60;
constexpr double kWideSpan = 50;

struct Bucket {
  double x = 0, mean = 0, low = 0, high = 0;
};

std::vector<Bucket> buckets_of(const std::vector<Point>& points) {
  const size_t count = std::min(points.size(), kMostPoints);
  std::vector<Bucket> out;
  for (size_t i = 0; i < count; ++i) {
    const size_t begin = i * points.size() / count, end = (i + 1) * points.size() / count;
    Bucket bucket{0, 0, points[begin].y, points[begin].y};
    for (size_t j = begin; j < end; ++j) {
      bucket.x += points[j].x / static_cast<double>(end - begin);
      bucket.mean += points[j].y / static_cast<double>(end - begin);
      bucket.low = std::min(bucket.low, points[j].y);
      bucket.high = std::max(bucket.high, points[j].y);
    }
    out.push_back(bucket);
  }
  return out;
}

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string coordinate(double value) { return fixed(value, 1); }

/// Maps values to the drawing.
struct Axes {
  double x_low = 0, x_high = 1, y_low = 0, y_high = 1;
  bool logarithmic = false;
  std::vector<double> x_ticks, y_ticks;

  double scaled(double y) const { return logarithmic ? std::log10(y) : y; }
  std::string x(double value) const {
    return coordinate(kLeft + (value - x_low) / (x_high - x_low) * (kWidth - kLeft - kRight));
  }
  std::string y(double value) const {
    const double share = (scaled(value) - scaled(y_low)) / (scaled(y_high) - scaled(y_low));
    return coordinate(kHeight - kBottom - share * (kHeight - kTop - kBottom));
  }
};

std::vector<double> decades(double low, double high) {
  std::vector<double> ticks;
  const bool few = std::log10(high / low) < 2.5;
  for (double power = std::floor(std::log10(low)); power <= std::ceil(std::log10(high)); ++power)
    for (const double digit : {1.0, 3.0})
      if (digit == 1 || few) ticks.push_back(digit * std::pow(10, power));
  const auto first = std::upper_bound(ticks.begin(), ticks.end(), low * 1.0001) - 1;
  const auto last = std::lower_bound(ticks.begin(), ticks.end(), high * 0.9999);
  return {first, last + 1};
}

Axes fit_axes(const Chart& chart) {
  double x_high = 0, low = std::numeric_limits<double>::infinity(), high = -low;
  for (const auto& series : chart.series)
    for (const auto& point : series.points) {
      x_high = std::max(x_high, point.x);
      low = std::min(low, point.y);
      high = std::max(high, point.y);
    }
  Axes axes;
  axes.x_ticks = nice_ticks(0, std::max(x_high, 1.0), 5);
  axes.x_high = std::max(x_high, 1.0);
  axes.logarithmic = chart.log_if_wide && low > 0 && high / low > kWideSpan;
  if (axes.logarithmic) {
    axes.y_ticks = decades(low, high);
  } else {
    if (chart.shares || (low > 0 && low < 0.4 * high)) low = std::min(low, 0.0);
    if (high - low < 1e-12 * std::max(1.0, std::abs(high))) high = low + std::max(std::abs(low) * 0.1, 1e-3);
    axes.y_ticks = nice_ticks(low, high, 4);
  }
  axes.y_low = axes.y_ticks.front();
  axes.y_high = axes.y_ticks.back();
  return axes;
}

std::string value_text(const Chart& chart, double value) {
  return chart.shares ? percent(value) : short_number(value);
}

std::string tick_text(const Chart& chart, double value) {
  if (!chart.shares) return short_number(value);
  return str(short_number(std::round(value * 1000) / 10), "%");
}

std::string draw_axes(const Chart& chart, const Axes& axes) {
  std::string out;
  for (const double tick : axes.y_ticks) {
    const auto y = axes.y(tick);
    out += str("<line class=\"grid\" x1=\"", kLeft, "\" x2=\"", kWidth - kRight, "\" y1=\"", y, "\" y2=\"", y,
               "\"/><text class=\"tick\" x=\"", kLeft - 8, "\" y=\"", y,
               "\" dy=\"0.32em\" text-anchor=\"end\">", tick_text(chart, tick), "</text>");
  }
  for (const double tick : axes.x_ticks) {
    if (tick > axes.x_high * 1.0001) continue;
    out += str("<text class=\"tick\" x=\"", axes.x(tick), "\" y=\"", kHeight - kBottom + 16,
               "\" text-anchor=\"middle\">", short_number(tick), "</text>");
  }
  out += str("<line class=\"axis\" x1=\"", kLeft, "\" x2=\"", kWidth - kRight, "\" y1=\"", kHeight - kBottom,
             "\" y2=\"", kHeight - kBottom, "\"/><text class=\"tick\" x=\"", (kLeft + kWidth - kRight) / 2,
             "\" y=\"", kHeight - 6, "\" text-anchor=\"middle\">", escape_html(chart.x), "</text>");
  return out;
}

std::string draw_band(const std::vector<Bucket>& buckets, const Axes& axes, size_t color) {
  std::string path;
  for (const auto& bucket : buckets)
    path += str(path.empty() ? "M" : "L", axes.x(bucket.x), " ", axes.y(bucket.high));
  for (auto bucket = buckets.rbegin(); bucket != buckets.rend(); ++bucket)
    path += str("L", axes.x(bucket->x), " ", axes.y(bucket->low));
  return str("<path class=\"band c", color, "\" d=\"", path, "Z\"/>");
}

std::string draw_hovers(const Chart& chart, const Series& series, const std::vector<Bucket>& buckets,
                        const Axes& axes) {
  std::string out;
  const size_t stride = (buckets.size() + kMostHovers - 1) / kMostHovers;
  for (size_t i = (buckets.size() - 1) % stride; i < buckets.size(); i += stride)
    out += str("<circle class=\"dot c", series.color, "\" cx=\"", axes.x(buckets[i].x), "\" cy=\"",
               axes.y(buckets[i].mean), "\" r=\"6\"><title>", escape_html(series.label()), ", ",
               escape_html(chart.x), " ", short_number(buckets[i].x), ": ",
               value_text(chart, buckets[i].mean), "</title></circle>");
  return out;
}

std::string draw_series(const Chart& chart, const Series& series, const Axes& axes) {
  const auto buckets = buckets_of(series.points);
  std::string out, path;
  if (series.points.size() > kMostPoints) out += draw_band(buckets, axes, series.color);
  for (const auto& bucket : buckets)
    path += str(path.empty() ? "M" : "L", axes.x(bucket.x), " ", axes.y(bucket.mean));
  const bool point = buckets.size() == 1;
  if (point) path += "h0.01";  // the round cap makes a dot of it
  out += str("<path class=\"line c", series.color,
             point           ? " point"
             : series.dashed ? " dashed"
                             : "",
             "\" d=\"", path, "\"/>");
  return out + draw_hovers(chart, series, buckets, axes);
}

std::string legend_entry(const std::string& color, bool dashed, const std::string& label) {
  return str("<span><svg class=\"key\" viewBox=\"0 0 22 8\" aria-hidden=\"true\"><path class=\"line ", color,
             dashed ? " dashed" : "", "\" d=\"M1 4H21\"/></svg>", escape_html(label), "</span>");
}

/// Runs by colour, then kinds of curves by stroke.
std::string draw_legend(const Chart& chart) {
  std::string runs, curves;
  std::set<std::string> named;
  for (const auto& series : chart.series) {
    if (series.points.empty()) continue;
    if (named.insert("run " + series.run).second)
      runs += legend_entry(str("c", series.color), false, series.run);
    if (!series.curve.empty() && named.insert("curve " + series.curve).second)
      curves += legend_entry("neutral", series.dashed, series.curve);
  }
  return "<p class=\"legend\">" + runs + curves + "</p>";
}

/// What a screen reader says of the drawing.
std::string summary(const Chart& chart) {
  std::string out = chart.title + ".";
  for (const auto& series : chart.series)
    if (!series.points.empty())
      out += str(" ", series.label(), ": from ", value_text(chart, series.points.front().y), " to ",
                 value_text(chart, series.points.back().y), ".");
  return out;
}

/// Length of the UTF-8 sequence that starts at `at`; 0 when it is none.
size_t sequence_length(const std::string& text, size_t at) {
  const auto byte = static_cast<unsigned char>(text[at]);
  const size_t length = byte < 0x80                   ? 1
                        : byte >= 0xC2 && byte < 0xE0 ? 2
                        : byte >= 0xE0 && byte < 0xF0 ? 3
                        : byte >= 0xF0 && byte < 0xF5 ? 4
                                                      : 0;
  if (length == 0 || at + length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((static_cast<unsigned char>(text[at + i]) & 0xC0) != 0x80) return 0;
  return length;
}

}  // namespace

std::string escape_html(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const size_t length = sequence_length(text, i);
    const std::string piece = text.substr(i, std::max<size_t>(length, 1));
    i += piece.size();
    if (length == 0)
      out += "\xEF\xBF\xBD";
    else if (piece == "&")
      out += "&amp;";
    else if (piece == "<")
      out += "&lt;";
    else if (piece == ">")
      out += "&gt;";
    else if (piece == "\"")
      out += "&quot;";
    else if (piece == "'")
      out += "&#39;";
    else
      out += piece;
  }
  return out;
}

std::string short_number(double value) {
  const double size = std::abs(value);
  char text[64];
  if (size >= 1e4 && size < 1e6) return short_number(value / 1e3) + "k";
  if (size >= 1e6 && size < 1e12) return short_number(value / 1e6) + "M";
  std::snprintf(text, sizeof text, size >= 100 && size < 1e4 ? "%.0f" : "%.3g", value);
  return text;
}

std::string percent(double share) { return fixed(share * 100, 1) + " %"; }

std::vector<double> nice_ticks(double low, double high, int count) {
  const double rough = (high - low) / count, power = std::pow(10, std::floor(std::log10(rough)));
  const double digit = rough / power - 1e-9;
  const double step = power * (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10);
  std::vector<double> ticks;
  const double first = std::floor(low / step + 1e-9), last = std::ceil(high / step - 1e-9);
  for (double i = first; i <= last; ++i) ticks.push_back(i * step);
  return ticks;
}

std::string render_chart(const Chart& chart) {
  const bool empty = std::all_of(chart.series.begin(), chart.series.end(),
                                 [](const Series& series) { return series.points.empty(); });
  if (empty) return "";
  const auto axes = fit_axes(chart);
  std::string lines;
  for (const auto& series : chart.series)
    if (!series.points.empty()) lines += draw_series(chart, series, axes);
  return str("<figure class=\"chart\"><figcaption><h3>", escape_html(chart.title),
             axes.logarithmic ? " <small>log scale</small>" : "", "</h3><p>", escape_html(chart.note), "</p>",
             draw_legend(chart), "</figcaption><svg viewBox=\"0 0 ", kWidth, " ", kHeight,
             "\" role=\"img\" aria-label=\"", escape_html(summary(chart)), "\">", draw_axes(chart, axes),
             lines, "</svg></figure>\n");
}

}  // namespace lacuna::eval
