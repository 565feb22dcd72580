#pragma once
// Regular expressions over UTF-8 with Unicode classes, by PCRE2.

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace lacuna::text {

/// A part of a text: [begin, end) in bytes.
struct Span {
  size_t begin = 0, end = 0;
  bool operator==(const Span&) const = default;
};

/// A compiled pattern; may be used by several threads at once.
class Regex {
 public:
  /// Error naming `origin` when the pattern is none. `\s`, `\w`, `\d` and `\p{..}` follow Unicode.
  explicit Regex(const std::string& pattern, const std::string& origin, bool any_case = false);
  /// A pattern that matches `text` itself.
  static Regex literal(const std::string& text, const std::string& origin);
  /// All matches from left to right, none empty. `utf8` must be valid. Error when the pattern needs too many
  /// steps.
  std::vector<Span> find_all(std::string_view utf8) const;
  std::string replace_all(std::string_view utf8, const std::string& by) const;  ///< `by` is taken as it is

 private:
  struct Code;
  std::shared_ptr<const Code> code_;
  std::string origin_;
};

}  // namespace lacuna::text
