// lacuna report RUN... --out FILE.html

#include "lacuna/eval/report.h"
#include "lacuna/cli/command.h"
#include "lacuna/io/file.h"

namespace lacuna::cli {
namespace {

struct Options {
  std::vector<std::string> runs;
  std::string out;
  Output output;
};

void report(Options options) {
  if (options.out.empty()) options.out = (io::fs::path(options.runs.front()) / "report.html").string();
  const std::vector<io::fs::path> runs(options.runs.begin(), options.runs.end());
  const auto page = eval::render_report(runs);
  io::write_atomically(options.out, page);
  options.output.print({{"out", options.out}, {"bytes", page.size()}}, options.out);
}

const Register<Command> registered{
    "report", {"one self-contained page about one run or several", [](CLI::App& app) {
                 auto options = std::make_shared<Options>();
                 app.add_option("runs", options->runs, "run folders")->required();
                 app.add_option("--out", options->out,
                                "the HTML file; RUN/report.html of the first by default");
                 options->output.add_to(app);
                 return [options] { report(*options); };
               }}};

}  // namespace
}  // namespace lacuna::cli
