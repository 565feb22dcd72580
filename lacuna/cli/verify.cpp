// lacuna verify CASE...

#include <unistd.h>

#include <iostream>

#include "lacuna/cli/command.h"
#include "lacuna/core/log.h"
#include "lacuna/method/golden.h"

namespace lacuna::cli {
namespace {

struct Options {
  std::vector<std::string> cases;
  Output output;
};

// A case that can't be replayed fails, and the others are still checked.
CaseResult verify_or_explain(const std::string& folder) {
  try {
    return verify_case(folder);
  } catch (const Error& error) {
    if (!io::fs::exists(io::fs::path(folder) / "case.toml")) throw;
    return {.name = io::fs::path(folder).filename().string(),
            .outputs = {{.name = "case", .problem = error.what()}}};
  }
}

void verify(const Options& options) {
  Json results = Json::array();
  size_t failed = 0;
  for (const auto& folder : options.cases) {
    const auto result = verify_or_explain(folder);
    failed += result.pass ? 0 : 1;
    results.push_back(result.to_json());
    if (options.output.json) continue;
    const auto line = result.to_line();  // PASS or FAIL first
    const auto colour = result.pass ? log::Colour::kGreen : log::Colour::kRed;
    std::cout << log::in_colour(line.substr(0, 4), colour, STDOUT_FILENO) << line.substr(4) << std::endl;
  }
  if (options.output.json) std::cout << Json({{"cases", results}}).dump(2) << std::endl;
  if (failed > 0) throw CheckFailed(str(failed, " of ", options.cases.size(), " cases failed"));
}

const Register<Command> registered{
    "verify", {"check golden cases made by official code", [](CLI::App& app) {
                 auto options = std::make_shared<Options>();
                 app.add_option("cases", options->cases, "folders that hold a case.toml")->required();
                 options->output.add_to(app);
                 return [options] { verify(*options); };
               }}};

}  // namespace
}  // namespace lacuna::cli
