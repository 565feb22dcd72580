#pragma once
// What a person reads while the program works. Results meant for programs go to stdout by --json alone.

#include <iosfwd>
#include <string>

namespace lacuna::log {

/// Stdout when it is a terminal and no JSON was asked for, else stderr (contracts.md, "The program").
std::ostream& human();
/// After this call human text always goes to stderr.
void reserve_stdout();

/// After this call only warnings are printed: of several processes one speaks for all.
void only_warnings();

enum class Colour { kRed = 31, kGreen = 32, kYellow = 33 };
/// `text` in a colour when file descriptor `out` is a terminal that wants colours: NO_COLOR is unset or empty
/// (no-color.org) and TERM is not "dumb". Elsewhere `text` as it is.
std::string in_colour(const std::string& text, Colour colour, int out);

void info(const std::string& line);  ///< one line on human(), safe from any thread
void warn(const std::string& line);  ///< prefixed with "warning: "

/// A line that is redrawn in place on a terminal; elsewhere printed at most once every few seconds.
class Progress {
 public:
  explicit Progress(std::string label);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// `done` of `total` with free text behind the bar.
  void update(int64_t done, int64_t total, const std::string& text = "");

 private:
  std::string label_;
  double last_ = -1e9;
  double start_;
  int64_t begun_ = -1;  ///< done when first seen: a resumed run's steps took no time here
};

/// Seconds since an arbitrary start; never runs backwards (clock jumps do not matter).
double monotonic_seconds();
/// "3 min 20 s"
std::string duration(double seconds);

}  // namespace lacuna::log
