#include "lacuna/eval/reproduce.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <numeric>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/eval/protocol.h"
#include "lacuna/train/preparation.h"
#include "lacuna/train/trainer.h"

namespace lacuna::eval {

namespace {

constexpr int64_t kQuickShare = 10;

std::string text_of(const Json& table, const std::string& key, const std::string& origin, bool needed) {
  const auto found = table.find(key);
  if (found != table.end() && found->is_string()) return found->get<std::string>();
  if (needed || found != table.end()) fail(origin, str("a claim needs the string '", key, "'"), "add it");
  return "";
}

std::vector<std::string> texts_of(const Json& table, const std::string& key, const std::string& origin) {
  std::vector<std::string> out;
  for (const auto& item : table.value(key, Json::array())) {
    if (!item.is_string())
      fail(origin, str("'", key, "' is no list of strings"), "write [\"key=value\", ...]");
    out.push_back(item.get<std::string>());
  }
  return out;
}

void refuse_unknown(const Json& table, const std::vector<std::string>& known, const std::string& origin) {
  for (const auto& [key, value] : table.items())
    if (std::find(known.begin(), known.end(), key) == known.end())
      fail(origin, str("unknown key '", key, "'"), suggest(key, known));
}

Arm arm_of(const Json& table, const std::string& origin) {
  refuse_unknown(table, {"name", "settings", "eval_settings", "metric", "run"}, origin);
  return {.name = text_of(table, "name", origin, true),
          .settings = texts_of(table, "settings", origin),
          .eval_settings = texts_of(table, "eval_settings", origin),
          .metric = text_of(table, "metric", origin, false),
          .run = text_of(table, "run", origin, false)};
}

Arm read_arm(const Json& claim, const std::string& key, const std::string& origin) {
  if (!claim.contains(key) || !claim[key].is_object())
    fail(origin, str("a claim has no [claim.", key, "]"), "name both sides of the comparison");
  return arm_of(claim[key], origin);
}

/// [claim.baseline], or [[claim.baselines]] with `choose`.
void read_baselines(const Json& table, const std::string& origin, Claim& claim) {
  if (!table.contains("baselines")) {
    claim.baseline = read_arm(table, "baseline", origin);
    return;
  }
  claim.choose = text_of(table, "choose", origin, true);
  const Json& all = table["baselines"];
  if ((claim.choose != "best" && claim.choose != "mean") || !all.is_array() || all.empty() ||
      table.contains("baseline"))
    fail(str(origin, ": claim ", claim.name), "its baselines can't be understood",
         "give [[claim.baselines]] tables, choose = \"best\" or \"mean\", and no [claim.baseline]");
  std::vector<std::string> names;
  for (const auto& each : all) {
    claim.baselines.push_back(arm_of(each, origin));
    names.push_back(claim.baselines.back().name);
  }
  claim.baseline.name = str(claim.choose, " of ", join(names));
}

Claim read_claim(const Json& table, const io::fs::path& file) {
  const std::string origin = file.string();
  refuse_unknown(table,
                 {"name", "statement", "paper", "recipe", "protocol", "metric", "settings", "eval_settings",
                  "ours", "baseline", "baselines", "choose", "eval_query", "margin", "lower", "run"},
                 origin);
  Claim claim;
  claim.name = text_of(table, "name", origin, true);
  claim.statement = text_of(table, "statement", origin, true);
  claim.paper = text_of(table, "paper", origin, true);
  claim.recipe = (file.parent_path() / text_of(table, "recipe", origin, true)).string();
  claim.protocol = text_of(table, "protocol", origin, true);
  const auto metric = text_of(table, "metric", origin, false);
  if (!metric.empty()) claim.metric = metric;
  claim.settings = texts_of(table, "settings", origin);
  claim.eval_settings = texts_of(table, "eval_settings", origin);
  claim.ours = read_arm(table, "ours", origin);
  read_baselines(table, origin, claim);
  claim.eval_query = text_of(table, "eval_query", origin, false);
  claim.margin = table.value("margin", 0.0);
  claim.lower = table.value("lower", false);
  claim.run = text_of(table, "run", origin, false);
  std::vector<Arm*> arms{&claim.ours, &claim.baseline};
  for (auto& each : claim.baselines) arms.push_back(&each);
  for (auto* arm : arms) {
    if (arm->metric.empty()) arm->metric = claim.metric;
    if (!claim.run.empty() && !(arm->settings.empty() && arm->eval_settings.empty()))
      fail(str(origin, ": claim ", claim.name), "arms that share a run have settings of their own",
           "leave out `run`, or give the settings to the claim");
    if (!claim.run.empty()) arm->run = claim.run;
  }
  return claim;
}

std::vector<std::string> joined(std::vector<std::string> first, const std::vector<std::string>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

/// Arms that share a run train it the same way, whichever comes first.
void check_shared_runs(const std::vector<Claim>& claims, const std::string& origin) {
  std::map<std::string, std::vector<std::string>> known;
  for (const auto& claim : claims) {
    std::vector<const Arm*> arms{&claim.ours, &claim.baseline};
    for (const auto& each : claim.baselines) arms.push_back(&each);
    for (const auto* arm : arms) {
      if (arm->run.empty()) continue;
      const auto trained = joined({claim.recipe}, joined(claim.settings, arm->settings));
      if (known.try_emplace(arm->run, trained).first->second != trained)
        fail(str(origin, ": claim ", claim.name), str("run '", arm->run, "' has other settings elsewhere"),
             "give arms that share a run the same recipe and settings, in the same order");
    }
  }
}

std::unique_ptr<train::RunConfig> arm_config(const Claim& claim, const Arm& arm,
                                             const ReproduceOptions& options, int64_t seed) {
  auto config = train::RunConfig::from_toml(read_toml(claim.recipe), claim.recipe);
  if (!options.data.empty()) config->table.set("data.uri", options.data, "--data");
  const std::vector<std::pair<std::string, std::string>> places = {{"{out}", options.out.string()},
                                                                   {"{seed}", str(seed)}};
  for (auto setting : joined(claim.settings, arm.settings)) {
    for (const auto& [name, value] : places)
      for (auto at = setting.find(name); at != std::string::npos; at = setting.find(name))
        setting.replace(at, name.size(), value);
    config->table.set_assignment(setting, "the claim");
  }
  config->table.set("train.seed", seed, "reproduce");
  const int64_t steps = config->train.steps;
  if (options.quick && steps > 0)
    config->table.set("train.steps", std::max<int64_t>(2, steps / kQuickShare), "--quick");
  return config;
}

/// Trains unless a finished run is there; seconds spent.
double pretrain(const io::fs::path& run, std::unique_ptr<train::RunConfig> config) {
  const auto checkpoint = train::newest_checkpoint(run);
  if (checkpoint && checkpoint->state.value("finished", false)) return 0;
  const auto begun = train::config_to_resume(run);
  if (!begun.empty()) config = train::RunConfig::from_toml(read_toml(begun.string()), run.string());
  const double begin = log::monotonic_seconds();
  const bool resume = train::prepare(*config, run, !begun.empty());
  train::Trainer(std::move(config), run, resume).run();
  return log::monotonic_seconds() - begin;
}

/// `uri` with the claim's query; empty stays so.
std::string with_query(const std::string& uri, const std::string& query) {
  if (uri.empty() || query.empty()) return uri;
  return str(uri, uri.find('?') == std::string::npos ? '?' : '&', query);
}

/// FNV-1a: names a file by all that its figures depend on.
std::string fingerprint(const std::vector<std::string>& parts) {
  uint64_t hash = 14695981039346656037ULL;
  for (const auto& part : parts)
    for (const char c : part + '\n') hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

/// The evaluation's figures, from an earlier one with the same settings where there is one.
double measure(const Claim& claim, const Arm& arm, const ReproduceOptions& options, int64_t seed,
               const io::fs::path& run) {
  auto settings = joined(claim.eval_settings, arm.eval_settings);
  settings.push_back(str("eval.seed=", seed));
  if (Registry<Protocol>::instance().get(claim.protocol).trains) settings.push_back(str("train.seed=", seed));
  auto uri = options.data;
  if (uri.empty()) uri = read_toml(claim.recipe).value("/data/uri"_json_pointer, std::string());
  const auto data = with_query(uri, claim.eval_query), test = with_query(options.test, claim.eval_query);
  auto parts = settings;
  parts.insert(parts.end(), {data, test});
  const auto file = run / "evals" / str("claim-", claim.protocol, "-", fingerprint(parts), ".json");
  Json result;
  if (io::fs::exists(file)) {
    result = Json::parse(io::read_file(file), nullptr, /*allow_exceptions=*/false);
  } else {
    result = evaluate(claim.protocol, run.string(), data, test, settings, false).to_json();
    io::write_atomically(file, result.dump(2) + "\n");
  }
  const auto pointer = Json::json_pointer("/metrics/" + arm.metric);
  if (!result.is_object() || !result.contains(pointer))
    fail(str("claim ", claim.name), str("protocol ", claim.protocol, " gives no metric '", arm.metric, "'"),
         "correct the claim's metric");
  return result.at(pointer).get<double>();
}

ArmOutcome run_arm(const Claim& claim, const Arm& arm, const ReproduceOptions& options) {
  ArmOutcome outcome;
  const int64_t seeds = options.quick ? 1 : options.seeds;
  for (int64_t seed = 0; seed < seeds; ++seed) {
    const auto run = arm.run.empty() ? options.out / claim.name / str(arm.name, "-seed", seed)
                                     : options.out / str(arm.run, "-seed", seed);
    log::info(str("== ", claim.name, ": ", arm.name, ", seed ", seed));
    const double seconds = pretrain(run, arm_config(claim, arm, options, seed));
    if (seconds > 0) outcome.seconds.push_back(seconds);
    outcome.values.push_back(measure(claim, arm, options, seed, run));
    log::info(str(claim.name, ": ", arm.name, ", seed ", seed, ": ", arm.metric, " ", outcome.values.back()));
  }
  return outcome;
}

std::string with_decimals(double value, int decimals) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}

/// Of several baselines each seed's best, or their mean.
ArmOutcome combined(const std::vector<ArmOutcome>& all, const Claim& claim) {
  ArmOutcome out;
  for (size_t seed = 0; seed < all.front().values.size(); ++seed) {
    double best = all.front().values[seed], sum = 0;
    for (const auto& each : all) {
      best = claim.lower ? std::min(best, each.values[seed]) : std::max(best, each.values[seed]);
      sum += each.values[seed];
    }
    out.values.push_back(claim.choose == "best" ? best : sum / static_cast<double>(all.size()));
  }
  for (const auto& each : all)
    out.seconds.insert(out.seconds.end(), each.seconds.begin(), each.seconds.end());
  return out;
}

std::string summary(const ArmOutcome& arm) {
  std::vector<std::string> values;
  for (const double value : arm.values) values.push_back(with_decimals(value, 4));
  const double seconds = std::accumulate(arm.seconds.begin(), arm.seconds.end(), 0.0);
  return str(with_decimals(arm.mean(), 4), " +- ", with_decimals(arm.deviation(), 4), " (", join(values), ")",
             arm.seconds.empty()
                 ? ""
                 : str("; pre-training ", with_decimals(seconds / static_cast<double>(arm.seconds.size()), 0),
                       " s"));
}

Json to_json(const Arm& arm, const ArmOutcome& outcome) {
  return {{"name", arm.name},
          {"values", outcome.values},
          {"mean", outcome.mean()},
          {"deviation", outcome.deviation()},
          {"seconds", outcome.seconds}};
}

}  // namespace

std::vector<Claim> read_claims(const io::fs::path& file) {
  const Json document = read_toml(file.string());
  if (!document.contains("claim") || !document["claim"].is_array() || document["claim"].empty())
    fail(file.string(), "holds no [[claim]]", "write one as docs/results.md describes");
  std::vector<Claim> out;
  for (const auto& table : document["claim"]) out.push_back(read_claim(table, file));
  check_shared_runs(out, file.string());
  return out;
}

double ArmOutcome::mean() const {
  return values.empty()
             ? 0
             : std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double ArmOutcome::deviation() const {
  if (values.size() < 2) return 0;
  double sum = 0;
  for (const double value : values) sum += (value - mean()) * (value - mean());
  return std::sqrt(sum / static_cast<double>(values.size() - 1));
}

bool Outcome::is_clear() const {
  if (ours.values.size() < 2) return false;
  const auto variance = [](const ArmOutcome& arm) {
    return arm.deviation() * arm.deviation() / static_cast<double>(arm.values.size());
  };
  const double beyond = difference() - std::min(claim.margin, 0.0);
  return holds() && beyond > 2 * std::sqrt(variance(ours) + variance(baseline));
}

Json Outcome::to_json() const {
  return {{"claim", claim.name},
          {"statement", claim.statement},
          {"paper", claim.paper},
          {"protocol", claim.protocol},
          {"metric", claim.metric},
          {"ours", eval::to_json(claim.ours, ours)},
          {"baseline", eval::to_json(claim.baseline, baseline)},
          {"difference", difference()},
          {"margin", claim.margin},
          {"lower_is_better", claim.lower},
          {"holds", holds()},
          {"clear", is_clear()}};
}

std::string Outcome::to_text() const {
  const size_t width = std::max(claim.ours.name.size(), claim.baseline.name.size());
  const auto line = [&](const Arm& arm, const ArmOutcome& outcome) {
    return str("\n  ", arm.name, std::string(width - arm.name.size(), ' '), "  ", arm.metric, " ",
               summary(outcome));
  };
  std::string verdict = holds() ? "the direction holds" : "the direction does NOT hold";
  if (ours.values.size() < 2)
    verdict += ", on one seed: no evidence either way";
  else if (holds() && !is_clear())
    verdict += ", within two standard errors: more seeds or a longer run would tell";
  return str(claim.name, ": ", claim.statement, "\n  paper: ", claim.paper, line(claim.ours, ours),
             line(claim.baseline, baseline), "\n  difference ", difference(), ": ", verdict);
}

Outcome reproduce(const Claim& claim, const ReproduceOptions& options) {
  Outcome outcome{.claim = claim, .ours = {}, .baseline = {}};
  outcome.ours = run_arm(claim, claim.ours, options);
  if (claim.baselines.empty()) {
    outcome.baseline = run_arm(claim, claim.baseline, options);
    return outcome;
  }
  std::vector<ArmOutcome> all;
  for (const auto& arm : claim.baselines) all.push_back(run_arm(claim, arm, options));
  outcome.baseline = combined(all, claim);
  return outcome;
}

}  // namespace lacuna::eval
