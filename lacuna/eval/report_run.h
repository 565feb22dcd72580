#pragma once
// What a report knows of one run, read from its folder with every broken part named instead of fatal.

#include <optional>
#include <string>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/io/file.h"

namespace lacuna::eval {

struct Picture {
  int64_t step = 0;
  std::string png;  ///< the file's bytes
  Size2 size;
};

struct Point {
  double x = 0, y = 0;
};

struct RunData {
  std::string name;  ///< the folder's name, made longer where two runs share it
  io::fs::path path;
  std::string config_text;                           ///< config.toml as it lies there
  std::vector<std::pair<std::string, Json>> config;  ///< its leaves by dotted key
  std::vector<Json> metrics;                         ///< by step
  std::vector<Picture> previews;                     ///< by step
  std::vector<Picture> animations;                   ///< the same in motion, where the run has them
  std::vector<Json> evals;                           ///< one for each protocol
  std::vector<std::string> problems;                 ///< what could not be read, and why

  /// Value of a config key as text; "" when the run's config lacks it.
  std::string setting(const std::string& key) const;
  /// (step, value) of every line that holds `key` as a finite number.
  std::vector<Point> series(const std::string& key) const;
  std::optional<double> last(const std::string& key) const;
  std::optional<double> first(const std::string& key) const;
};

/// How a run stands. `tone`: good | warn | bad | plain, the colour of its badge.
struct RunVerdict {
  std::string tone, badge, text;
};
RunVerdict verdict_of(const RunData& run);

/// Error when `path` is no folder.
RunData read_run(const io::fs::path& path);
std::vector<RunData> read_runs(const std::vector<io::fs::path>& paths);

/// A finite number of a JSON object; nullopt when absent or of another type.
std::optional<double> number(const Json& object, const std::string& key);
/// A text of a JSON object; "" when absent or of another type.
std::string text(const Json& object, const std::string& key);

}  // namespace lacuna::eval
