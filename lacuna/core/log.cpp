#include "lacuna/core/log.h"

#include <unistd.h>
#include <algorithm>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <mutex>

#include "lacuna/core/error.h"

namespace lacuna::log {

namespace {

std::atomic<bool> stdout_reserved{false};
std::atomic<bool> bar_drawn{false};
std::atomic<bool> quiet{false};
std::mutex output;

int human_descriptor() {
  return !stdout_reserved && isatty(STDOUT_FILENO) != 0 ? STDOUT_FILENO : STDERR_FILENO;
}

bool on_terminal() { return isatty(stdout_reserved ? STDERR_FILENO : STDOUT_FILENO) != 0; }

void print(const std::string& line) {
  const std::scoped_lock lock(output);
  if (bar_drawn.exchange(false)) human() << "\r\033[K";
  human() << line << std::endl;
}

constexpr double kTerminalPeriod = 0.1, kPlainPeriod = 10.0;
constexpr int kBarWidth = 28;

}  // namespace

std::ostream& human() { return human_descriptor() == STDOUT_FILENO ? std::cout : std::cerr; }

void reserve_stdout() { stdout_reserved = true; }

void only_warnings() { quiet = true; }

void info(const std::string& line) {
  if (!quiet) print(line);
}

std::string in_colour(const std::string& text, Colour colour, int out) {
  const char *refused = std::getenv("NO_COLOR"), *terminal = std::getenv("TERM");
  const bool dumb = terminal != nullptr && std::string_view(terminal) == "dumb";
  if (isatty(out) == 0 || (refused != nullptr && *refused != '\0') || dumb) return text;
  return str("\033[", static_cast<int>(colour), "m", text, "\033[0m");
}

void warn(const std::string& line) {
  print(in_colour("warning:", Colour::kYellow, human_descriptor()) + " " + line);
}

double monotonic_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string duration(double seconds) {
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 60) return str(whole, " s");
  if (whole < 3600) return str(whole / 60, " min ", whole % 60, " s");
  return str(whole / 3600, " h ", whole % 3600 / 60, " min");
}

Progress::Progress(std::string label) : label_(std::move(label)), start_(monotonic_seconds()) {}

Progress::~Progress() {
  const std::scoped_lock lock(output);
  if (bar_drawn.exchange(false)) human() << std::endl;
}

void Progress::update(int64_t done, int64_t total, const std::string& text) {
  if (quiet) return;
  const double now = monotonic_seconds();
  if (begun_ < 0) begun_ = done, start_ = now;
  const bool terminal = on_terminal();
  if (now - last_ < (terminal ? kTerminalPeriod : kPlainPeriod) && done < total) return;
  last_ = now;
  const double share = total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 0.0;
  const int filled = static_cast<int>(share * kBarWidth);
  const double each = (now - start_) / static_cast<double>(std::max<int64_t>(done - begun_, 1));
  const std::string left = done > begun_ && done < total
                               ? ", " + duration(each * static_cast<double>(total - done)) + " left"
                               : "";
  const std::string line = str(label_, " [", std::string(filled, '#'), std::string(kBarWidth - filled, '.'),
                               "] ", done, "/", total, left, text.empty() ? "" : "  ", text);
  if (!terminal) {
    print(line);
    return;
  }
  const std::scoped_lock lock(output);
  human() << "\r\033[K" << line << std::flush;
  bar_drawn = true;
}

}  // namespace lacuna::log
