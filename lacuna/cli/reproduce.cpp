// lacuna reproduce METHOD [--quick]

#include "lacuna/eval/reproduce.h"
#include "lacuna/cli/command.h"
#include "lacuna/cli/places.h"
#include "lacuna/core/log.h"
#include "lacuna/eval/explain.h"
#include "lacuna/method/method.h"

namespace lacuna::cli {
namespace {

struct Options {
  std::string method, claim;
  eval::ReproduceOptions run;
  std::string out;
  Output output;
};

std::filesystem::path claims_of(const std::string& method) {
  if (!Registry<eval::Explainer>::instance().find(method))
    Registry<MethodInfo>::instance().get(method);  // unknown: names the nearest
  for (const auto& path : claim_files())
    if (path.parent_path().filename() == method) return path;
  fail("reproduce " + method, "no claims are written down for it",
       "see recipes/*/claims.toml for those that are");
}

void reproduce(Options options) {
  if (options.output.json) log::reserve_stdout();
  options.run.out = options.out.empty() ? io::fs::path("runs") / ("reproduce-" + options.method)
                                        : io::fs::path(options.out);
  const auto claims = eval::read_claims(claims_of(options.method));
  std::vector<std::string> names, failed;
  for (const auto& claim : claims) names.push_back(claim.name);
  if (!options.claim.empty() && std::find(names.begin(), names.end(), options.claim) == names.end())
    fail("--claim " + options.claim, "unknown", suggest(options.claim, names));
  Json results = Json::array();
  std::vector<std::string> texts;
  for (const auto& claim : claims) {
    if (!options.claim.empty() && claim.name != options.claim) continue;
    const auto outcome = eval::reproduce(claim, options.run);
    results.push_back(outcome.to_json());
    texts.push_back(outcome.to_text());
    if (!outcome.holds()) failed.push_back(claim.name);
  }
  const Json document = {
      {"method", options.method}, {"quick", options.run.quick}, {"claims", std::move(results)}};
  io::write_atomically(options.run.out / (options.run.quick ? "quick.json" : "claims.json"),
                       document.dump(2) + "\n");
  options.output.print(document, join(texts, "\n"));
  if (!failed.empty() && !options.run.quick)
    throw CheckFailed(str(failed.size(), " of ", texts.size(), " claims did not show: ", join(failed)));
}

const Register<Command> registered{
    "reproduce",
    {"a paper's claim against its baseline, with seeds and spread", [](CLI::App& app) {
       auto options = std::make_shared<Options>();
       app.add_option("method", options->method, "`lacuna list methods`")->required();
       app.add_option("--claim", options->claim, "one claim alone; all by default");
       app.add_option("--data", options->run.data, "data URI or path; the recipe's own by default");
       app.add_option("--test", options->run.test, "what is scored; the set's test split by default");
       app.add_option("--seeds", options->run.seeds, "runs of each side")->check(CLI::Range(1, 1000));
       app.add_option("--out", options->out, "where the runs are kept; runs/reproduce-METHOD by default");
       app.add_flag("--quick", options->run.quick,
                    "a tenth of the steps and one seed: shows that it runs, not more");
       options->output.add_to(app);
       return [options] { reproduce(*options); };
     }}};

}  // namespace
}  // namespace lacuna::cli
