#include "lacuna/eval/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

#include "lacuna/core/error.h"
#include "lacuna/eval/report_svg.h"
#include "tests/support/pictures.h"

namespace lacuna::eval {
namespace {

using lacuna::testing::TemporaryFolder;
using lacuna::testing::write_file;
using ::testing::HasSubstr;
using ::testing::Not;

/// A finished run of three logged steps with one preview and a k-NN result of `top1`.
void write_run(const io::fs::path& run, double top1,
               const std::string& config = "method = \"mae\"\n[train]\nlr = 0.1\n") {
  write_file(run / "config.toml", config);
  std::string metrics;
  for (int step = 0; step <= 200; step += 100) {
    metrics += Json{{"step", step},
                    {"epoch", step / 100.0},
                    {"loss", 1.0 - step / 400.0},
                    {"lr", 0.001},
                    {"data_wait", 0.05}}
                   .dump() +
               "\n";
    metrics += Json{{"step", step},
                    {"health.skill_mean", step / 500.0},
                    {"health.skill_blur", step / 900.0},
                    {"health.rank", 7.5},
                    {"health.verdict", "learning since step 100"}}
                   .dump() +
               "\n";
  }
  write_file(run / "metrics.jsonl", metrics);
  write_file(run / "previews/step-00000200.png", lacuna::testing::png(6, 8, 3));
  write_file(
      run / "evals/knn.json",
      Json{{"protocol", "knn"}, {"data", "d"}, {"test", "t"}, {"metrics", {{"top1", top1}, {"chance", 0.1}}}}
          .dump());
}

/// Every tag that opens is closed, in order (void elements aside).
std::string first_imbalance(const std::string& html) {
  const std::regex tag("<(/?)([a-z0-9]+)([^<>]*)>");
  const std::set<std::string> empty{"meta", "img", "br"};
  std::vector<std::string> open;
  for (std::sregex_iterator it(html.begin(), html.end(), tag), end; it != end; ++it) {
    const std::string name = (*it)[2], rest = (*it)[3];
    if (empty.count(name) || rest.ends_with("/")) continue;
    if ((*it)[1].length() == 0)
      open.push_back(name);
    else if (open.empty() || open.back() != name)
      return name;
    else
      open.pop_back();
  }
  return open.empty() ? "" : open.back();
}

TEST(Report, ShowsVerdictFiguresPicturesAndTheBestOfTwoRuns) {
  TemporaryFolder folder;
  write_run(folder / "first", 0.4123);
  write_run(folder / "second", 0.3, "method = \"mae\"\n[train]\nlr = 0.2\n");
  const auto html = render_report({folder / "first", folder / "second"});
  for (const auto* expected :
       {"learning since step 100", "1 → 0.5", "40.0 %", "class=\"best\">41.2 %", "30.0 %", "chance 10.0 %",
        "data:image/png;base64,", "prefers-color-scheme:dark",
        "<tr class=\"differs\"><th scope=\"row\"><code>train.lr", "first, step 200: 0.5"})
    EXPECT_THAT(html, HasSubstr(expected));
  EXPECT_EQ(first_imbalance(html), "");
  EXPECT_FALSE(std::regex_search(html, std::regex("(src|href)=\"(?!data:)")));  // nothing from elsewhere
  EXPECT_THAT(html, Not(HasSubstr("<script")));
}

TEST(Report, EscapesWhatTheRunSays) {
  TemporaryFolder folder;
  const std::string evil = "<script>alert('&\"x')</script>";
  write_run(folder / "run", 0.4, "method = \"mae\"\n[data]\nuri = '''" + evil + "'''\n");
  write_file(folder / "run/metrics.jsonl", Json{{"step", 5}, {"health.verdict", evil}}.dump() + "\n");
  write_file(folder / "run/evals/x.json",
             Json{{"protocol", evil}, {"test", evil}, {"metrics", {{evil, 1}}}}.dump());
  const auto html = render_report({folder / "run"});
  EXPECT_THAT(html, Not(HasSubstr("<script")));
  EXPECT_THAT(html, HasSubstr("&lt;script&gt;alert(&#39;&amp;&quot;x&#39;)&lt;/script&gt;"));
  EXPECT_EQ(first_imbalance(html), "");
}

TEST(Report, NamesWhatIsBrokenAndShowsTheRest) {
  TemporaryFolder folder;
  write_run(folder / "run", 0.4);
  write_file(folder / "run/config.toml", "method = ");
  write_file(folder / "run/evals/linear.json", "{\"metrics\": 3");
  write_file(folder / "run/evals/odd.json", "[1, 2]");
  write_file(folder / "run/previews/step-00000300.png", "no picture");
  write_file(
      folder / "run/metrics.jsonl",
      "{\"step\": \"x\", \"loss\": []}\n{\"step\": 3, \"loss\": null}\n{\"step\": 4, \"loss\": 0.5}\n");
  const auto html = render_report({folder / "run"});
  for (const auto* expected : {"config.toml: not valid TOML", "evaluation linear.json: not valid JSON",
                               "odd.json: holds no metrics", "step-00000300.png", "40.0 %", "step 200"})
    EXPECT_THAT(html, HasSubstr(expected));
  EXPECT_EQ(first_imbalance(html), "");
}

TEST(Report, AnEmptyFolderIsSaidToHoldNothing) {
  TemporaryFolder folder;
  const auto html = render_report({folder.path()});
  EXPECT_THAT(html, HasSubstr("No metrics"));
  EXPECT_THAT(html, HasSubstr("metrics.jsonl: missing"));
  EXPECT_THROW(render_report({folder / "nowhere"}), Error);
  EXPECT_THROW(render_report({}), Error);
}

TEST(Report, NumbersAndTicksAreShort) {
  EXPECT_EQ(short_number(0.00025), "0.00025");
  EXPECT_EQ(short_number(1.3249), "1.32");
  EXPECT_EQ(short_number(1234), "1234");
  EXPECT_EQ(short_number(12500), "12.5k");
  EXPECT_EQ(percent(0.4126), "41.3 %");
  EXPECT_EQ(nice_ticks(0, 950, 5), (std::vector<double>{0, 200, 400, 600, 800, 1000}));
  EXPECT_EQ(nice_ticks(-0.05, 0.1, 3), (std::vector<double>{-0.05, 0, 0.05, 0.1}));
  EXPECT_EQ(escape_html("a\xff<\xc3\xa9"), "a\xEF\xBF\xBD&lt;\xc3\xa9");
}

TEST(Report, WideLossesAreDrawnOnALogScale) {
  Chart chart{
      .title = "Loss", .log_if_wide = true, .series = {{.run = "run", .points = {{0, 100}, {10, 0.1}}}}};
  EXPECT_THAT(render_chart(chart), HasSubstr("log scale"));
  chart.log_if_wide = false;
  EXPECT_THAT(render_chart(chart), Not(HasSubstr("log scale")));
  EXPECT_EQ(render_chart({.title = "Loss", .series = {{.run = "run"}}}), "");
}

}  // namespace
}  // namespace lacuna::eval
