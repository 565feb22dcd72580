#include "lacuna/core/error.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>

namespace lacuna {

namespace {

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row.back();
}

}  // namespace

Error::Error(std::string what, std::string why, std::string remedy)
    : std::runtime_error(one_line(what + ": " + why + (remedy.empty() ? "" : "; " + remedy))),
      subject_(std::move(what)),
      why_(std::move(why)),
      remedy_(std::move(remedy)) {}

void fail(std::string what, std::string why, std::string remedy) {
  throw Error(std::move(what), std::move(why), std::move(remedy));
}

void assertion_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "lacuna: bug: %s does not hold at %s:%d; please report it\n", condition, file, line);
  std::abort();
}

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string out;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) out += separator;
    out += parts[i];
  }
  return out;
}

std::string nearest(std::string_view name, const std::vector<std::string>& candidates) {
  const size_t tolerated = std::max<size_t>(2, name.size() / 3);
  size_t best = tolerated + 1;
  std::string found;
  for (const auto& candidate : candidates) {
    // A dotted key written without its group ("ratio" for "mask.ratio") is as near as a typo.
    const auto dot = candidate.rfind('.');
    const bool leaf = dot != std::string::npos && std::string_view(candidate).substr(dot + 1) == name;
    const size_t distance = leaf ? 1 : edit_distance(name, candidate);
    if (distance < best) best = distance, found = candidate;
  }
  return found;
}

std::string suggest(std::string_view name, const std::vector<std::string>& candidates) {
  const std::string near = nearest(name, candidates);
  if (!near.empty()) return "did you mean '" + near + "'?";
  return candidates.empty() ? "there is none here" : "known: " + join(candidates);
}

}  // namespace lacuna
