#include <algorithm>
#include <map>
#include <set>

#include "lacuna/core/error.h"
#include "lacuna/eval/report_page.h"
#include "lacuna/eval/report_svg.h"

namespace lacuna::eval {

namespace {

/// One run's result under one protocol.
struct Row {
  size_t run;
  const Json* eval;
  std::optional<double> metric(const std::string& name) const { return number(eval->at("metrics"), name); }
};

const std::map<std::string, std::string> kMeanings = {
    {"knn",
     "Each test picture gets the label that its nearest training pictures vote for, by cosine similarity of "
     "the frozen "
     "features. Nothing is trained, so no setting can flatter it."},
    {"linear",
     "A linear classifier is trained on the frozen features. Its learning rate is chosen on a held-out tenth "
     "of the "
     "training features; the test set is only scored."},
};

/// The figure that a protocol is compared by: top1, else its first number.
std::string main_metric(const std::vector<Row>& rows) {
  for (const auto& row : rows)
    if (row.metric("top1")) return "top1";
  for (const auto& [name, value] : rows.front().eval->at("metrics").items())
    if (value.is_number() && name != "chance") return name;
  return "";
}

// Lengths, nats and ratios, which are no shares though they may lie in [0, 1]; of these less is better, but
// for apd.
const std::set<std::string> kNoShares = {"ade",  "fde",        "mmade", "mmfde", "apd",     "first_frame",
                                         "loss", "perplexity", "mse",   "r",     "entropy", "bits_per_byte"};
const std::string kStill = "still_";  // the same of a guess that stands still

std::string stem_of(const std::string& metric) {
  const auto stem = metric.substr(0, metric.find_first_of(".@"));
  return stem.starts_with(kStill) ? stem.substr(kStill.size()) : stem;
}

/// A metric is a share (drawn as a percentage) when it is an accuracy or lies in [0, 1].
bool is_share(const std::string& metric, double value) {
  return value >= 0 && value <= 1 && kNoShares.count(stem_of(metric)) == 0;
}

bool less_is_better(const std::string& metric) {
  const auto stem = stem_of(metric);
  return stem != "apd" && stem != "r" && kNoShares.count(stem) > 0;
}

std::string metric_text(const std::string& metric, double value) {
  return is_share(metric, value) ? percent(value) : short_number(value);
}

/// "accuracy.grey" as {accuracy, grey}: a figure of several ways to do the same.
std::optional<std::pair<std::string, std::string>> variant_of(const std::string& metric) {
  const auto dot = metric.find('.');
  if (dot == std::string::npos || metric.find_first_of(".@", dot + 1) != std::string::npos) return {};
  return std::pair(metric.substr(0, dot), metric.substr(dot + 1));
}

/// Is drawn as a curve of its own: "accuracy.grey@0.25".
bool is_on_a_curve(const Row& row, const std::string& metric) {
  return row.eval->contains("curves") && metric.find('@') != std::string::npos;
}

std::string bar(double value, std::optional<double> chance, size_t run) {
  const auto width = [](double share) { return str(std::clamp(share, 0.0, 1.0) * 100, "%"); };
  std::string out = str("<div class=\"bar\" aria-hidden=\"true\"><i class=\"fill c", run % 8,
                        "\" style=\"width:", width(value), "\"></i>");
  if (chance)
    out += str("<b style=\"left:", width(*chance), "\" title=\"chance ", percent(*chance), "\"></b>");
  return out + "</div>";
}

/// "10: 52.0 %, 20: 54.1 %" for the metrics that start with `prefix`.
std::string sweep(const Row& row, const std::string& prefix) {
  std::vector<std::pair<double, std::string>> found;
  for (const auto& [name, value] : row.eval->at("metrics").items())
    if (name.starts_with(prefix) && value.is_number())
      found.push_back({std::atof(name.c_str() + prefix.size()),
                       str(name.substr(prefix.size()), ": ", metric_text(name, value.get<double>()))});
  std::sort(found.begin(), found.end());
  std::vector<std::string> parts;
  for (const auto& [order, part] : found) parts.push_back(part);
  return join(parts);
}

std::string details_of(const Row& row) {
  std::vector<std::string> parts;
  if (const auto by_k = sweep(row, "top1_k"); !by_k.empty()) parts.push_back("by k " + by_k);
  if (const auto by_rate = sweep(row, "top1_lr"); !by_rate.empty())
    parts.push_back("by learning rate " + by_rate);
  const auto settings = row.eval->find("settings");
  if (settings != row.eval->end())
    if (const auto rate = number(*settings, "base_lr_chosen")) parts.push_back(str("chosen rate ", *rate));
  if (const auto held_out = row.metric("held_out_top1")) parts.push_back("held-out " + percent(*held_out));
  for (const auto& [name, value] : row.eval->at("metrics").items()) {
    const bool shown = name == "chance" || name == "held_out_top1" || name.starts_with("top1") ||
                       name == "top5" || variant_of(name) || is_on_a_curve(row, name);
    if (!shown && value.is_number()) parts.push_back(name + " " + metric_text(name, value.get<double>()));
  }
  return join(parts, "; ");
}

std::string table_row(const Runs& runs, const Row& row, const std::string& metric, bool best, bool top5) {
  const auto value = row.metric(metric), chance = row.metric("chance");
  const auto cell = [](const std::string& name, std::optional<double> number) {
    return number ? metric_text(name, *number) : std::string("–");
  };
  std::string out = str("<tr><th scope=\"row\">", run_label(runs, row.run), "</th><td class=\"number\"><span",
                        best ? " class=\"best\"" : "", ">", cell(metric, value), "</span></td><td>");
  if (value && is_share(metric, *value)) out += bar(*value, chance, row.run);
  out += "</td>";
  if (top5) out += str("<td class=\"number\">", cell("top5", row.metric("top5")), "</td>");
  return out + str("<td class=\"number\">", cell("chance", chance), "</td><td class=\"detail\">",
                   escape_html(details_of(row)), "</td></tr>\n");
}

/// A row for each variant, a column for each of its figures; "" where the evaluation has no variants.
std::string variant_table(const Runs& runs, const Row& row) {
  std::vector<std::string> names, variants;
  const auto add = [](std::vector<std::string>& to, const std::string& name) {
    if (std::find(to.begin(), to.end(), name) == to.end()) to.push_back(name);
  };
  const auto& metrics = row.eval->at("metrics");
  for (const auto& [name, value] : metrics.items())
    if (const auto variant = variant_of(name)) add(names, variant->first), add(variants, variant->second);
  if (names.empty()) return "";
  std::string out =
      str("<div class=\"scroll\"><table><thead><tr><th scope=\"col\">", run_label(runs, row.run), "</th>");
  for (const auto& name : names) out += "<th scope=\"col\">" + escape_html(name) + "</th>";
  out += "</tr></thead><tbody>\n";
  for (const auto& variant : variants) {
    out += str("<tr><th scope=\"row\">", escape_html(variant), "</th>");
    for (const auto& name : names) {
      const auto key = name + "." + variant;
      const auto value = row.metric(key);
      out += str("<td class=\"number\">", value ? metric_text(key, *value) : "–", "</td>");
    }
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>";
}

/// The charts that an evaluation brought.
std::string charts_of(const Runs& runs, const Row& row) {
  std::string out;
  for (const auto& curve : row.eval->value("curves", Json::array())) {
    Chart chart{.title = text(curve, "title") + (runs.size() > 1 ? ", " + runs[row.run].name : ""),
                .note = text(curve, "note"),
                .x = text(curve, "x"),
                .shares = curve.value("shares", false),
                .series = {}};
    const Json series_of = curve.value("series", Json::object());  // items() refers to it
    for (const auto& [name, points] : series_of.items()) {
      Series series{.run = name, .curve = "", .color = chart.series.size() % 8, .points = {}};
      for (const auto& point : points)
        series.points.push_back({point.at(0).get<double>(), point.at(1).get<double>()});
      chart.series.push_back(std::move(series));
    }
    out += render_chart(chart);
  }
  return out.empty() ? "" : "<div class=\"charts inner\">\n" + out + "</div>\n";
}

/// All rows scored on one test set.
std::string comparison(const Runs& runs, const std::vector<Row>& rows, const std::string& test) {
  const auto metric = main_metric(rows);
  const bool top5 =
      std::any_of(rows.begin(), rows.end(), [](const Row& row) { return row.metric("top5").has_value(); });
  const Row* best = nullptr;
  for (const auto& row : rows)
    if (row.metric(metric) &&
        (!best || (less_is_better(metric) ? *row.metric(metric) < *best->metric(metric)
                                          : *row.metric(metric) > *best->metric(metric))))
      best = &row;
  std::string out =
      str("<div class=\"scroll\"><table><thead><tr><th scope=\"col\">run</th><th scope=\"col\">",
          escape_html(metric),
          "</th><th scope=\"col\"><span title=\"the mark is chance\">0 to 100 %, mark: chance</span></th>",
          top5 ? "<th scope=\"col\">top5</th>" : "",
          "<th scope=\"col\">chance</th><th scope=\"col\">in detail</th></tr></thead><tbody>\n");
  for (const auto& row : rows) out += table_row(runs, row, metric, rows.size() > 1 && &row == best, top5);
  out += "</tbody></table></div>";
  for (const auto& row : rows) out += variant_table(runs, row) + charts_of(runs, row);
  std::set<std::string> data;
  for (const auto& row : rows) data.insert(text(*row.eval, "data"));
  return out + str("<p class=\"aside\">Learnt from ", escape_html(join({data.begin(), data.end()}, "; ")),
                   "; scored on ", escape_html(test), ".</p>");
}

std::string protocol_card(const Runs& runs, const std::string& protocol, const std::vector<Row>& rows) {
  const auto meaning = kMeanings.find(protocol);
  std::string out = str("<div class=\"card protocol\"><h3>", escape_html(protocol), "</h3><p class=\"lead\">",
                        meaning == kMeanings.end() ? "" : meaning->second, "</p>");
  std::map<std::string, std::vector<Row>> by_test;
  for (const auto& row : rows) by_test[text(*row.eval, "test")].push_back(row);
  for (const auto& [test, same_test] : by_test) out += comparison(runs, same_test, test);
  if (by_test.size() > 1)
    out += "<p class=\"aside\">Figures on different test sets can't be compared with each other.</p>";
  return out + "</div>\n";
}

// What a reader looks for first, in this order.
const std::vector<std::string> kKeySettings = {
    "method",           "data.uri",          "encoder.arch",  "encoder.img_size",    "encoder.patch_size",
    "encoder.in_chans", "encoder.embed_dim", "encoder.depth", "decoder.embed_dim",   "decoder.depth",
    "mask.ratio",       "loss.norm_pix",     "train.epochs",  "train.steps",         "train.batch_size",
    "train.accum",      "train.base_lr",     "train.lr",      "train.warmup_epochs", "train.weight_decay",
    "train.precision",  "train.seed"};

/// Among the runs whose config could be read.
bool differs(const Runs& runs, const std::string& key) {
  std::set<std::string> values;
  for (const auto& run : runs)
    if (!run.config.empty()) values.insert(run.setting(key));
  return values.size() > 1;
}

/// The important keys and every key that is not the same in all runs.
std::vector<std::string> shown_keys(const Runs& runs) {
  std::vector<std::string> keys;
  const auto add = [&](const std::string& key) {
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
  };
  std::set<std::string> known;
  for (const auto& run : runs)
    for (const auto& [key, value] : run.config) known.insert(key);
  for (const auto& key : kKeySettings)
    if (known.count(key)) add(key);
  for (const auto& key : known)
    if (differs(runs, key)) add(key);
  return keys;
}

}  // namespace

std::string evaluation_section(const Runs& runs) {
  std::map<std::string, std::vector<Row>> by_protocol;
  for (size_t i = 0; i < runs.size(); ++i)
    for (const auto& eval : runs[i].evals) by_protocol[text(eval, "protocol")].push_back({i, &eval});
  if (by_protocol.empty()) return "";
  std::string out =
      "<section id=\"evaluations\"><h2>Evaluations</h2><p class=\"lead\">What the frozen encoder is worth to "
      "someone who "
      "uses it. Chance is what naming the most frequent class every time would score.</p>\n";
  for (const auto& [protocol, rows] : by_protocol) out += protocol_card(runs, protocol, rows);
  return out + "</section>\n";
}

std::string config_section(const Runs& runs) {
  const auto keys = shown_keys(runs);
  if (keys.empty()) return "";
  std::string out = str(
      "<section id=\"config\"><h2>Configuration</h2><p class=\"lead\">",
      runs.size() > 1 ? "The settings that matter most, and every one that differs between the runs (marked)."
                      : "The settings that matter most; the whole config is below.",
      "</p><div class=\"card\"><div class=\"scroll\"><table><thead><tr><th scope=\"col\">key</th>");
  for (size_t i = 0; i < runs.size(); ++i) out += "<th scope=\"col\">" + run_label(runs, i) + "</th>";
  out += "</tr></thead><tbody>\n";
  for (const auto& key : keys) {
    out += str("<tr", differs(runs, key) ? " class=\"differs\"" : "", "><th scope=\"row\"><code>",
               escape_html(key), "</code></th>");
    for (const auto& run : runs) {
      const auto value = run.setting(key);
      out += "<td><code>" + (value.empty() ? "–" : escape_html(value)) + "</code></td>";
    }
    out += "</tr>\n";
  }
  out += "</tbody></table></div>";
  for (size_t i = 0; i < runs.size(); ++i)
    if (!runs[i].config_text.empty())
      out += str("<details class=\"whole\"><summary>The whole config.toml of ", run_label(runs, i),
                 "</summary><pre>", escape_html(runs[i].config_text), "</pre></details>");
  return out + "</div></section>\n";
}

}  // namespace lacuna::eval
