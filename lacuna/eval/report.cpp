#include "lacuna/eval/report.h"

#include <algorithm>
#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/eval/report_page.h"
#include "lacuna/eval/report_svg.h"

namespace lacuna::eval {

namespace {

constexpr size_t kEarlierPreviews = 6;

std::string fact(const std::string& name, const std::string& value) {
  return value.empty() ? "" : "<div><dt>" + name + "</dt><dd>" + escape_html(value) + "</dd></div>";
}

std::string percent_or_empty(std::optional<double> share) { return share ? percent(*share) : ""; }

/// "0.982 → 0.412"
std::string from_to(const RunData& run, const std::string& key, std::string (*format)(double)) {
  const auto first = run.first(key), last = run.last(key);
  if (!last) return "";
  return run.series(key).size() > 1 ? format(*first) + " → " + format(*last) : format(*last);
}

std::string model_text(const RunData& run) {
  const auto width = run.setting("encoder.embed_dim"), depth = run.setting("encoder.depth");
  return width.empty() || depth.empty() ? run.setting("encoder.arch")
                                        : str("width ", width, ", depth ", depth);
}

std::string knn_text(const RunData& run) {
  const auto knn = run.last("health.knn");
  if (!knn) return "";
  const auto chance = run.last("health.knn_chance");
  return percent(*knn) + (chance ? " (chance " + percent(*chance) + ")" : "");
}

std::string facts(const RunData& run) {
  const auto step = run.last("step"), epoch = run.last("epoch"), speed = run.last("items_per_s");
  std::string out = "<dl>";
  out += fact("method", run.setting("method"));
  out += fact("encoder", model_text(run));
  out += fact("steps",
              step ? str(std::llround(*step), epoch ? str(" (", short_number(*epoch), " epochs)") : "") : "");
  out += fact("loss", from_to(run, "loss", short_number));
  out += fact("hidden detail explained", percent_or_empty(run.last("health.skill_mean")));
  out += fact("effective rank", from_to(run, "health.rank", short_number));
  out += fact("k-NN while training", knn_text(run));
  out += fact("speed", speed ? short_number(*speed) + " records/s" : "");
  out += fact("waiting for data", percent_or_empty(run.last("data_wait")));
  if (const auto skipped = run.last("skipped"); skipped && *skipped > 0)
    out += fact("steps not applied", short_number(*skipped));
  return out + "</dl>";
}

std::string problems(const RunData& run) {
  if (run.problems.empty()) return "";
  std::string out = "<ul class=\"problems warn\">";
  for (const auto& problem : run.problems) out += "<li>" + escape_html(problem) + "</li>";
  return out + "</ul>";
}

std::string image(const RunData& run, const Picture& picture) {
  return str("<img width=\"", picture.size.w, "\" height=\"", picture.size.h, "\" alt=\"",
             escape_html(run.name), " at step ", picture.step,
             ": originals, what the encoder saw, predictions, and predictions under the visible patches\" "
             "src=\"data:image/png;base64,",
             io::base64(picture.png), "\">");
}

/// At most kEarlierPreviews of the panels before the last, evenly spaced, the first included.
std::vector<const Picture*> earlier(const RunData& run) {
  const size_t before = run.previews.size() - 1, count = std::min(before, kEarlierPreviews);
  std::vector<const Picture*> out;
  for (size_t i = 0; i < count; ++i) out.push_back(&run.previews[i * before / count]);
  return out;
}

std::string panels(const Runs& runs, size_t index) {
  const auto& run = runs[index];
  std::string out = str("<div class=\"card\"><div class=\"top-line\">", run_label(runs, index),
                        "<span class=\"badge plain\">step ", run.previews.back().step,
                        "</span></div><div class=\"panels\"><figure class=\"picture\">",
                        image(run, run.previews.back()), "</figure>");
  if (!run.animations.empty())
    out += str("<figure class=\"picture\">", image(run, run.animations.back()), "</figure>");
  const auto before = earlier(run);
  if (!before.empty()) out += "<div class=\"strip\">";
  for (const auto* picture : before)
    out += str("<details><summary>step ", picture->step, image(run, *picture), "</summary></details>");
  return out + (before.empty() ? "" : "</div>") + "</div></div>\n";
}

struct Curve {
  std::string key, name;  ///< name: in the legend when a chart has several curves of a run
  bool dashed = false;
};

Chart make_chart(const Runs& runs, const std::string& title, const std::string& note,
                 const std::vector<Curve>& curves) {
  Chart chart{.title = title, .note = note, .series = {}};
  for (size_t i = 0; i < runs.size(); ++i)
    for (const auto& curve : curves) {
      chart.series.push_back({.run = runs[i].name,
                              .curve = curve.name,
                              .color = i % 8,
                              .dashed = curve.dashed,
                              .points = runs[i].series(curve.key)});
    }
  return chart;
}

// A network that has learnt nothing can miss by thousands of deviations, beside which nothing later is seen.
constexpr double kWorstShown = -1;

void raise_to(double lowest, Chart& chart) {
  for (auto& series : chart.series)
    for (auto& point : series.points) point.y = std::max(point.y, lowest);
}

/// One chart for each part of the loss, where a method has parts.
std::vector<Chart> part_charts(const Runs& runs) {
  std::vector<std::string> keys;
  for (const auto& run : runs)
    for (const auto& line : run.metrics)
      for (const auto& [key, value] : line.items())
        if (key.starts_with("loss.") && std::find(keys.begin(), keys.end(), key) == keys.end())
          keys.push_back(key);
  std::vector<Chart> out;
  for (const auto& key : keys) {
    out.push_back(make_chart(runs, "Loss: " + key.substr(5), "A part of the loss.", {{key, ""}}));
    out.back().log_if_wide = true;
  }
  return out;
}

std::vector<Chart> charts(const Runs& runs) {
  std::vector<Chart> out;
  out.push_back(make_chart(runs, "Loss", "What training makes small.", {{"loss", ""}}));
  out.back().log_if_wide = true;
  out.push_back(make_chart(runs, "Hidden detail explained",
                           "Share of the variance of what is hidden that is predicted. 0 % is as good as the "
                           "guess, 100 % perfect, "
                           "worse than -100 % drawn there.",
                           {{"health.skill_mean", "against the mean"},
                            {"health.skill_blur", "against blurred neighbours", true}}));
  out.back().shares = true;
  raise_to(kWorstShown, out.back());
  out.push_back(make_chart(runs, "k-NN accuracy",
                           "Labels told from the nearest neighbours' features while training.",
                           {{"health.knn", "k-NN"}, {"health.knn_chance", "chance", true}}));
  out.back().shares = true;
  out.push_back(make_chart(runs, "Effective rank of the features",
                           "How many directions the features use. A fall towards 1 is a collapse.",
                           {{"health.rank", ""}}));
  for (auto& chart : part_charts(runs)) out.push_back(std::move(chart));
  out.push_back(
      make_chart(runs, "Gradient norm", "Length of the gradient of all parameters.", {{"grad_norm", ""}}));
  out.back().log_if_wide = true;
  out.push_back(make_chart(runs, "Learning rate", "As scheduled.", {{"lr", ""}}));
  out.push_back(make_chart(runs, "Speed", "Pictures in a second.", {{"items_per_s", ""}}));
  out.push_back(make_chart(
      runs, "Waiting for data",
      "Share of the time in which the model had nothing to do. Much of it: give more train.workers.",
      {{"data_wait", ""}}));
  out.back().shares = true;
  return out;
}

}  // namespace

std::string summary_section(const Runs& runs) {
  std::string out =
      "<section id=\"runs\"><h2>How it went</h2><p class=\"lead\">A plain verdict for each run, from its "
      "last health check.</p><div class=\"runs\">\n";
  for (size_t i = 0; i < runs.size(); ++i) {
    const auto verdict = verdict_of(runs[i]);
    out += str("<article class=\"card\"><div class=\"top-line\"><h3>", run_label(runs, i),
               "</h3><span class=\"badge ", verdict.tone, "\">", verdict.badge,
               "</span></div><p class=\"verdict\">", escape_html(verdict.text), "</p>", facts(runs[i]),
               problems(runs[i]), "</article>\n");
  }
  return out + "</div></section>\n";
}

std::string preview_section(const Runs& runs) {
  std::string cards;
  for (size_t i = 0; i < runs.size(); ++i)
    if (!runs[i].previews.empty()) cards += panels(runs, i);
  if (cards.empty()) return "";
  return "<section id=\"previews\"><h2>What it predicts</h2><p class=\"lead\">The same records throughout "
         "the run: the original, what the encoder saw, and what it predicts. Earlier panels below; select "
         "one to "
         "enlarge it.</p>"
         "<div class=\"cards\">\n" +
         cards + "</div></section>\n";
}

std::string curve_section(const Runs& runs) {
  std::string figures;
  for (const auto& chart : charts(runs)) figures += render_chart(chart);
  if (figures.empty()) return "";
  return "<section id=\"curves\"><h2>Curves</h2><p class=\"lead\">Point at a line to read it. Long runs are "
         "drawn as means, with a band from least to greatest.</p>"
         "<div class=\"charts\">\n" +
         figures + "</div></section>\n";
}

std::string render_report(const std::vector<io::fs::path>& paths) {
  const auto runs = read_runs(paths);
  std::vector<std::string> names;
  for (const auto& run : runs) names.push_back(run.name);
  const std::string title = join(names, " · ");
  const std::string subtitle = runs.size() == 1
                                   ? "Masked prediction: one run"
                                   : str("Masked prediction: ", runs.size(), " runs side by side");
  const std::string body =
      str("<header class=\"top\"><p class=\"lead\">", subtitle, "</p><h1>", escape_html(title),
          "</h1></header>\n<main>\n", summary_section(runs), preview_section(runs), evaluation_section(runs),
          curve_section(runs), config_section(runs),
          "</main>\n<footer>Written by <code>lacuna report</code>. This page holds everything it shows and "
          "loads nothing.</footer>\n");
  return page("Lacuna report: " + title, body);
}

}  // namespace lacuna::eval
