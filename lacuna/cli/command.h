#pragma once
// A subcommand registers itself by one line in its own file.

#include <CLI/CLI.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "lacuna/core/registry.h"

namespace lacuna::cli {

/// Adds options to its subcommand and returns what to do once they are parsed.
struct Command {
  static const char* noun() { return "command"; }
  std::string summary;
  std::function<std::function<void()>(CLI::App& app)> setup;
};

/// `--json`: one JSON document on stdout and nothing else there.
struct Output {
  bool json = false;
  void add_to(CLI::App& app);
  /// Prints the document, or the text, as was asked.
  void print(const nlohmann::json& document, const std::string& text) const;
};

}  // namespace lacuna::cli
