// The program: finds the subcommand, and turns every ending into its exit code (contracts.md, "The program").

#include <torch/version.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <new>

#include "lacuna/cli/command.h"
#include "lacuna/cli/machine.h"
#include "lacuna/core/log.h"

namespace lacuna::cli {

void Output::add_to(CLI::App& app) {
  app.add_flag("--json", json, "one JSON document on stdout, nothing else there");
}

void Output::print(const nlohmann::json& document, const std::string& text) const {
  // File names need not be UTF-8; JSON must.
  std::cout << (json ? document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) : text)
            << std::endl;
}

namespace {

constexpr int kDone = 0, kCheckFailed = 1, kBadInput = 2, kInterrupted = 130;

int complain(const std::string& line) {
  std::fflush(stdout);
  std::cerr << log::in_colour("lacuna:", log::Colour::kRed, STDERR_FILENO) << " " << line << std::endl;
  return kBadInput;
}

// CLI11's own words, in our one-line form.
int usage_error(const CLI::ParseError& error, const std::string& command) {
  std::string why = error.what();
  std::replace(why.begin(), why.end(), '\n', ' ');
  return complain(str(command.empty() ? "usage" : command, ": ", why, "; see `lacuna ", command,
                      command.empty() ? "" : " ", "--help`"));
}

std::string version() { return str("lacuna ", LACUNA_VERSION, " (LibTorch ", TORCH_VERSION, ")"); }

int run(int argc, char** argv) {
  CLI::App app{"Lacuna: hide part of a signal and train a network to say what was hidden."};
  app.set_version_flag("--version", version());
  app.require_subcommand(1);
  app.footer(
      "Where to begin:\n"
      "  lacuna inspect photos/                             what is there, what is broken\n"
      "  lacuna pretrain mae --data photos/ --dry-run       memory, steps, expected time; writes nothing\n"
      "  lacuna pretrain mae --data photos/ --out runs/a    and --resume after an interruption\n"
      "  lacuna eval knn runs/a                             and: linear, finetune\n"
      "  lacuna report runs/a                               one page with curves and previews\n"
      "`lacuna list` says what there is, `lacuna info mae` every key for --set, `lacuna COMMAND --help` the "
      "options.");
  const auto& commands = Registry<Command>::instance();
  const std::string first = argc > 1 ? argv[1] : "";
  if (!first.empty() && first[0] != '-') commands.get(first);  // unknown: names the nearest

  std::function<void()> action;
  for (const auto& name : commands.names()) {
    auto* sub = app.add_subcommand(name, commands.get(name).summary);
    const auto job = commands.get(name).setup(*sub);
    sub->callback([&action, job] { action = job; });
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& done) {
    return app.exit(done);
  } catch (const CLI::ParseError& error) {
    return usage_error(error, first.empty() || first[0] == '-' ? "" : first);
  }
  action();
  require_stdout_written();
  return kDone;
}

}  // namespace
}  // namespace lacuna::cli

int main(int argc, char** argv) {
  using namespace lacuna;
  using namespace lacuna::cli;
  keep_freed_memory();
  survive_broken_pipes();
  try {
    return run(argc, argv);
  } catch (const Error& error) {
    return complain(error.what());
  } catch (const CheckFailed& failed) {
    log::info(failed.what());
    return kCheckFailed;
  } catch (const Interrupted& stopped) {
    log::info(stopped.what());
    return kInterrupted;
  } catch (const c10::OutOfMemoryError& error) {
    return complain("memory: the device has no more; lower train.batch_size or eval.batch_size");
  } catch (const std::bad_alloc&) {
    return complain(
        "memory: this machine has no more; lower train.batch_size, eval.batch_size or train.prefetch");
  } catch (const c10::Error& error) {
    return complain(
        str("LibTorch: ", error.what_without_backtrace(), "; this is a bug of lacuna: please report it"));
  } catch (const std::exception& error) {
    return complain(str("unexpected: ", error.what(), "; this is a bug of lacuna: please report it"));
  }
}
