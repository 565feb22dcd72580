#include "lacuna/eval/report_run.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/io/image.h"
#include "lacuna/train/run_folder.h"

namespace lacuna::eval {

namespace {

/// Runs `read`; what it can't read is added to the run's problems.
template <class Read>
void attempt(RunData& run, const std::string& part, Read read) {
  try {
    read();
  } catch (const Json::exception&) {
    run.problems.push_back(part + ": not valid JSON");
  } catch (const std::exception& error) {
    run.problems.push_back(error.what());
  }
}

std::vector<io::fs::path> files_in(const io::fs::path& folder, const std::string& extension) {
  std::vector<io::fs::path> out;
  if (!io::fs::is_directory(folder)) return out;
  for (const auto& entry : io::fs::directory_iterator(folder))
    if (entry.path().extension() == extension && !entry.path().filename().string().starts_with("."))
      out.push_back(entry.path());
  std::sort(out.begin(), out.end());
  return out;
}

/// 100 of "step-00000100".
int64_t step_in(const std::string& stem) {
  const auto digit = std::find_if(stem.begin(), stem.end(), [](unsigned char c) { return std::isdigit(c); });
  int64_t step = 0;
  for (auto c = digit; c != stem.end() && std::isdigit(static_cast<unsigned char>(*c)); ++c)
    step = std::min<int64_t>(step, int64_t{1} << 50) * 10 + (*c - '0');
  return step;
}

Picture read_picture(const io::fs::path& path) {
  Picture picture{step_in(path.stem().string()), io::read_file(path), {}};
  const auto info = io::probe_image(std::as_bytes(std::span(picture.png)), path.string());
  if (info.format != "png") fail(path.string(), "not a PNG file", "remove it");
  picture.size = {info.height, info.width};
  return picture;
}

Json read_eval(const io::fs::path& path) {
  Json eval = Json::parse(io::read_file(path));
  if (!eval.is_object() || !eval.contains("metrics") || !eval["metrics"].is_object())
    fail(path.string(), "holds no metrics", "evaluate again");
  if (text(eval, "protocol").empty()) eval["protocol"] = path.stem().string();
  return eval;
}

void read_metrics_by_step(RunData& run) {
  if (!io::fs::exists(run.path / "metrics.jsonl")) fail("metrics.jsonl", "missing", "train the run first");
  for (auto& line : train::read_metrics(run.path))
    if (line.is_object() && number(line, "step")) run.metrics.push_back(std::move(line));
  std::stable_sort(run.metrics.begin(), run.metrics.end(),
                   [](const Json& a, const Json& b) { return *number(a, "step") < *number(b, "step"); });
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

/// Runs of one name get their parent folder's in front.
void make_names_unique(std::vector<RunData>& runs) {
  for (size_t i = 0; i < runs.size(); ++i) {
    const std::string name = runs[i].name;
    const auto same = [&](const RunData& run) { return run.name == name; };
    if (std::count_if(runs.begin(), runs.end(), same) < 2) continue;
    for (auto& run : runs)
      if (run.name == name) run.name = (run.path.parent_path().filename() / name).string();
  }
}

}  // namespace

std::optional<double> number(const Json& object, const std::string& key) {
  if (!object.is_object()) return std::nullopt;
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return std::nullopt;
  const double value = found->get<double>();
  return std::isfinite(value) ? std::optional(value) : std::nullopt;
}

std::string text(const Json& object, const std::string& key) {
  if (!object.is_object()) return "";
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

std::string RunData::setting(const std::string& key) const {
  for (const auto& [name, value] : config)
    if (name == key) return value.is_string() ? value.get<std::string>() : value.dump();
  return "";
}

std::vector<Point> RunData::series(const std::string& key) const {
  std::vector<Point> out;
  for (const auto& line : metrics)
    if (const auto value = number(line, key)) out.push_back({*number(line, "step"), *value});
  return out;
}

std::optional<double> RunData::last(const std::string& key) const {
  const auto points = series(key);
  return points.empty() ? std::nullopt : std::optional(points.back().y);
}

std::optional<double> RunData::first(const std::string& key) const {
  const auto points = series(key);
  return points.empty() ? std::nullopt : std::optional(points.front().y);
}

RunVerdict verdict_of(const RunData& run) {
  std::string said;
  for (const auto& line : run.metrics)
    if (const auto verdict = text(line, "health.verdict"); !verdict.empty()) said = verdict;
  if (run.metrics.empty()) return {"plain", "No metrics", "Nothing was logged, so there is no verdict."};
  if (run.last("step") == 0)
    return {"plain", "Untrained", "The untrained network, as a baseline: no step was taken."};
  if (said.empty()) return {"plain", "No verdict", "No health check was logged, so there is no verdict."};
  const std::string words = lower(said);
  if (words.find("collaps") != std::string::npos) return {"bad", "Collapsing", said};
  if (words.find("stuck") != std::string::npos) return {"warn", "Stuck", said};
  if (words.find("learning") != std::string::npos) return {"good", "Learning", said};
  return {"plain", "Starting", said};
}

RunData read_run(const io::fs::path& path) {
  if (!io::fs::is_directory(path))
    fail(path.string(), "no such run folder", "give folders that `lacuna pretrain` wrote");
  RunData run;
  run.path = io::fs::weakly_canonical(path);
  run.name = run.path.filename().string();
  attempt(run, "config", [&] {
    run.config_text = io::read_file(run.path / "config.toml");
    run.config = leaves(parse_toml(run.config_text, "config.toml"));
  });
  attempt(run, "metrics", [&] { read_metrics_by_step(run); });
  for (const auto& file : files_in(run.path / "previews", ".png"))
    attempt(run, "preview", [&] { run.previews.push_back(read_picture(file)); });
  for (const auto& file : files_in(run.path / "previews", ".apng"))
    attempt(run, "animation", [&] { run.animations.push_back(read_picture(file)); });
  for (const auto& file : files_in(run.path / "evals", ".json"))
    attempt(run, "evaluation " + file.filename().string(), [&] {
      auto eval = read_eval(file);
      const bool known = std::find(run.evals.begin(), run.evals.end(), eval) != run.evals.end();
      if (!known) run.evals.push_back(std::move(eval));  // claims that share a run leave equal ones
    });
  return run;
}

std::vector<RunData> read_runs(const std::vector<io::fs::path>& paths) {
  if (paths.empty()) fail("report", "no run given", "name one run folder or more");
  std::vector<RunData> runs;
  for (const auto& path : paths) runs.push_back(read_run(path));
  make_names_unique(runs);
  return runs;
}

}  // namespace lacuna::eval
