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

/// A metric is a share (drawn as a percentage) when it is an accuracy or lies in [0, 1].
std::string metric_text(double value) {
  return value >= 0 && value <= 1 ? percent(value) : short_number(value);
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
                       str(name.substr(prefix.size()), ": ", metric_text(value.get<double>()))});
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
    const bool shown =
        name == "chance" || name == "held_out_top1" || name.starts_with("top1") || name == "top5";
    if (!shown && value.is_number()) parts.push_back(name + " " + metric_text(value.get<double>()));
  }
  return join(parts, "; ");
}

std::string table_row(const Runs& runs, const Row& row, const std::string& metric, bool best, bool top5) {
  const auto value = row.metric(metric), chance = row.metric("chance");
  const auto cell = [](std::optional<double> number) {
    return number ? metric_text(*number) : std::string("–");
  };
  std::string out = str("<tr><th scope=\"row\">", run_label(runs, row.run), "</th><td class=\"number\"><span",
                        best ? " class=\"best\"" : "", ">", cell(value), "</span></td><td>");
  if (value && *value >= 0 && *value <= 1) out += bar(*value, chance, row.run);
  out += "</td>";
  if (top5) out += str("<td class=\"number\">", cell(row.metric("top5")), "</td>");
  return out + str("<td class=\"number\">", cell(chance), "</td><td class=\"detail\">",
                   escape_html(details_of(row)), "</td></tr>\n");
}

/// All rows scored on one test set.
std::string comparison(const Runs& runs, const std::vector<Row>& rows, const std::string& test) {
  const auto metric = main_metric(rows);
  const bool top5 =
      std::any_of(rows.begin(), rows.end(), [](const Row& row) { return row.metric("top5").has_value(); });
  const Row* best = nullptr;
  for (const auto& row : rows)
    if (row.metric(metric) && (!best || *row.metric(metric) > *best->metric(metric))) best = &row;
  std::string out =
      str("<div class=\"scroll\"><table><thead><tr><th scope=\"col\">run</th><th scope=\"col\">",
          escape_html(metric),
          "</th><th scope=\"col\"><span title=\"the mark is chance\">0 to 100 %, mark: chance</span></th>",
          top5 ? "<th scope=\"col\">top5</th>" : "",
          "<th scope=\"col\">chance</th><th scope=\"col\">in detail</th></tr></thead><tbody>\n");
  for (const auto& row : rows) out += table_row(runs, row, metric, rows.size() > 1 && &row == best, top5);
  out += "</tbody></table></div>";
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
