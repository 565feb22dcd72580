// lacuna data pack: a data set with its pictures decoded, in one mapped file; lacuna data tokenize: texts as
// tokens.

#include <cmath>

#include "lacuna/cli/command.h"
#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/data/packed.h"
#include "lacuna/data/tokens.h"
#include "lacuna/train/signals.h"

namespace lacuna::cli {
namespace {

struct Options {
  std::string job, data, out;
  data::PackOptions pack;
  data::TextConfig text;
  Output output;
};

nlohmann::json to_json(const Options& options, const data::PackReport& report, double seconds) {
  auto splits = nlohmann::json::array();
  for (const auto& [name, count] : report.splits) splits.push_back({{"name", name}, {"records", count}});
  return {{"file", options.out},
          {"data", options.data},
          {"side", options.pack.side},
          {"records", report.records},
          {"left_out", report.left_out},
          {"splits", splits},
          {"file_bytes", report.file_bytes},
          {"source_bytes", report.source_bytes},
          {"seconds", seconds}};
}

std::string to_text(const Options& options, const data::PackReport& report, double seconds) {
  const auto mega = [](int64_t bytes) {
    return str(std::round(static_cast<double>(bytes) / 1e5) / 10, " MB");
  };
  std::string splits;
  for (const auto& [name, count] : report.splits)
    if (!name.empty()) splits += str(splits.empty() ? " (" : ", ", name, " ", count);
  return str("packed ", report.records, " pictures", splits, splits.empty() ? "" : ")", " in ", options.out,
             ": ", mega(report.file_bytes), ", where the source has ", mega(report.source_bytes), "; ",
             report.left_out, " left out; ", std::round(seconds * 10) / 10, " s");
}

void pack(Options& options) {
  if (options.output.json) log::reserve_stdout();
  const train::SignalGuard signals;
  const double begun = log::monotonic_seconds();
  double shown = begun;
  options.pack.progress = [&](int64_t done, int64_t of) {
    if (train::SignalGuard::requested())
      throw Interrupted(str("stopped at record ", done, " of ", of, "; nothing was written"));
    constexpr double kEvery = 5;  // seconds
    if (log::monotonic_seconds() - shown < kEvery) return;
    shown = log::monotonic_seconds();
    log::info(str("packed ", done, " of ", of));
  };
  const auto report = data::pack(options.data, options.out, options.pack);
  const double seconds = log::monotonic_seconds() - begun;
  options.output.print(to_json(options, report, seconds), to_text(options, report, seconds));
}

void tokenize(Options& options) {
  if (options.output.json) log::reserve_stdout();
  if (io::fs::exists(options.out)) fail("--out " + options.out, "is there already", "name a new file");
  const auto dataset = data::open_dataset(options.data);
  if (dataset->modality() != "text")
    fail(options.data, "holds " + dataset->modality() + ", not texts", "give text:FILE or text:DIR");
  if (options.text.tokenizer != "bytes")  // whoever opens the file is told where it lies
    options.text.tokenizer = io::fs::absolute(options.text.tokenizer).lexically_normal().string();
  const train::SignalGuard signals;
  const double begun = log::monotonic_seconds();
  double shown = begun;
  data::TokenizeOptions settings{.workers = options.pack.workers};
  settings.progress = [&](const data::TokenizeReport& so_far) {
    if (train::SignalGuard::requested()) throw Interrupted("stopped; nothing was written");
    constexpr double kEvery = 5;  // seconds
    if (log::monotonic_seconds() - shown < kEvery) return;
    shown = log::monotonic_seconds();
    log::info(str(so_far.tokens, " tokens of ", so_far.documents, " documents"));
  };
  data::TokenizeReport report;
  io::write_atomically(options.out, [&](const std::function<void(io::Bytes)>& sink) {
    report = data::tokenize(data::text_source(dataset), options.text, dataset->uri(), settings, sink);
  });
  const double seconds = log::monotonic_seconds() - begun;
  options.output.print({{"file", options.out},
                        {"data", dataset->uri()},
                        {"tokenizer", options.text.tokenizer},
                        {"documents", report.documents},
                        {"tokens", report.tokens},
                        {"text_bytes", report.bytes},
                        {"seconds", seconds}},
                       str(options.out, ": ", report.tokens, " tokens of ", report.documents, " documents (",
                           report.bytes, " bytes); ", std::round(seconds * 10) / 10, " s"));
}

const Register<Command> registered{
    "data",
    {"pack: a data set with its pictures decoded, in one mapped file; tokenize: texts as tokens",
     [](CLI::App& app) {
       auto options = std::make_shared<Options>();
       app.add_option("job", options->job, "pack or tokenize")
           ->required()
           ->check(CLI::IsMember({"pack", "tokenize"}));
       app.add_option("--data", options->data, "data URI or path; all its splits, or the one named")
           ->required();
       app.add_option("--out", options->out, "the file to write; --data FILE opens it")->required();
       app.add_option("--side", options->pack.side,
                      "shrink pictures to this shorter side; 0: keep them as they are")
           ->check(CLI::Range(0, 1 << 16));
       app.add_option("--workers", options->pack.workers, "threads that decode")->check(CLI::Range(1, 1024));
       app.add_option("--max-bad", options->pack.max_bad,
                      "broken records that are named and left out; one more is an error")
           ->check(CLI::NonNegativeNumber);
       options->output.add_to(app);
       app.add_option("--tokenizer", options->text.tokenizer,
                      "tokenize: bytes, a tokenizer's file or folder");
       app.add_flag("!--no-begin", options->text.add_begin, "tokenize: no begin token in front of documents");
       app.add_flag("!--no-end", options->text.add_end, "tokenize: no end token behind documents");
       return [options] { options->job == "pack" ? pack(*options) : tokenize(*options); };
     }}};

}  // namespace
}  // namespace lacuna::cli
