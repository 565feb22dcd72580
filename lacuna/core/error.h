#pragma once
// Errors a user can cause, as one line: what, why, what to do (contracts.md, "Exit codes").

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace lacuna {

/// An error that a user can cause and mend. Printed as `lacuna: <what>: <why>; <what to do>`; exit code 2.
class Error : public std::runtime_error {
 public:
  Error(std::string what, std::string why, std::string remedy);
  const std::string& subject() const { return subject_; }  ///< what is wrong: a file, a key
  const std::string& why() const { return why_; }          ///< what is wrong with it
  const std::string& remedy() const { return remedy_; }    ///< what to do

 private:
  std::string subject_, why_, remedy_;
};

/// Throws Error: `fail("image.png", "not a PNG file", "remove it or convert it")`.
[[noreturn]] void fail(std::string what, std::string why, std::string remedy);

/// The job ran and its check failed (verify mismatch, claim not met): exit code 1.
class CheckFailed : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Stopped by SIGINT or SIGTERM after everything worth keeping was written: exit code 130.
class Interrupted : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Aborts with file and line: for what only a bug can cause, never for user input.
#define LACUNA_ASSERT(condition)                                                  \
  do {                                                                            \
    if (!(condition)) ::lacuna::assertion_failed(#condition, __FILE__, __LINE__); \
  } while (false)
[[noreturn]] void assertion_failed(const char* condition, const char* file, int line);

/// Joins its arguments with operator<<: `str("got ", n, " images")`. An object, not a function, so that
/// argument-dependent lookup never finds c10::str beside it.
struct Str {
  /// All arguments as one text.
  template <class... Args>
  std::string operator()(const Args&... args) const {
    std::ostringstream out;
    (out << ... << args);
    return out.str();
  }
};
inline constexpr Str str;  ///< the one Str

/// "a, b, c"
std::string join(const std::vector<std::string>& parts, std::string_view separator = ", ");

/// The candidate with the smallest edit distance to `name`, or "" when none is near enough to be a typo.
std::string nearest(std::string_view name, const std::vector<std::string>& candidates);

/// "did you mean 'x'?" when one is near, else "known: a, b, c".
std::string suggest(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace lacuna
