#include "lacuna/eval/transcribe.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "lacuna/core/error.h"

namespace lacuna::eval {

namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

double log_add(double a, double b) {
  const double high = std::max(a, b);
  return high == kNever ? kNever : high + std::log(std::exp(a - high) + std::exp(b - high));
}

/// Log-probabilities that a prefix is read and its last frame is a blank, or its last token.
struct Reached {
  double blank = kNever, token = kNever;
  double total() const { return log_add(blank, token); }
};
using Prefixes = std::map<TokenList, Reached>;

/// The `beam` most probable of them; of equals the first in order.
Prefixes best_of(const Prefixes& all, int64_t beam) {
  std::vector<Prefixes::const_iterator> order;
  for (auto it = all.begin(); it != all.end(); ++it) order.push_back(it);
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a->second.total() > b->second.total(); });
  order.resize(std::min(order.size(), static_cast<size_t>(beam)));
  Prefixes out;
  for (const auto& it : order) out.insert(*it);
  return out;
}

/// Every prefix of `before`, read one frame further.
Prefixes extend(const Prefixes& before, const float* frame, int64_t classes) {
  Prefixes out;
  for (const auto& [prefix, reached] : before) {
    auto& same = out[prefix];
    same.blank = log_add(same.blank, reached.total() + frame[0]);
    if (!prefix.empty()) same.token = log_add(same.token, reached.token + frame[prefix.back() + 1]);
    for (int64_t token = 0; token + 1 < classes; ++token) {
      auto longer = prefix;
      longer.push_back(token);
      // A token repeats only behind a blank: without one the frames are merged.
      const double from = !prefix.empty() && prefix.back() == token ? reached.blank : reached.total();
      auto& next = out[longer];
      next.token = log_add(next.token, from + frame[token + 1]);
    }
  }
  return out;
}

}  // namespace

TokenList greedy_ctc(const at::Tensor& log_probs) {
  const auto best = log_probs.argmax(1).contiguous();
  TokenList out;
  int64_t last = 0;
  for (int64_t t = 0; t < best.size(0); ++t) {
    const int64_t now = best.const_data_ptr<int64_t>()[t];
    if (now != 0 && now != last) out.push_back(now - 1);
    last = now;
  }
  return out;
}

TokenList beam_ctc(const at::Tensor& log_probs, int64_t beam) {
  LACUNA_ASSERT(beam > 0);
  const auto scores = log_probs.to(at::kFloat).contiguous();
  const int64_t classes = scores.size(1);
  Prefixes prefixes{{{}, {.blank = 0, .token = kNever}}};
  for (int64_t t = 0; t < scores.size(0); ++t)
    prefixes = best_of(extend(prefixes, scores.const_data_ptr<float>() + t * classes, classes), beam);
  return best_of(prefixes, 1).begin()->first;
}

double Edits::rate() const {
  if (reference == 0) return distance() > 0 ? 1 : 0;
  return static_cast<double>(distance()) / static_cast<double>(reference);
}

Edits& Edits::operator+=(const Edits& other) {
  substitutions += other.substitutions, deletions += other.deletions, insertions += other.insertions;
  reference += other.reference;
  return *this;
}

Edits edit_distance(const TokenList& reference, const TokenList& hypothesis) {
  const size_t R = reference.size(), H = hypothesis.size();
  std::vector<std::vector<int64_t>> cost(R + 1, std::vector<int64_t>(H + 1));
  for (size_t r = 0; r <= R; ++r)
    for (size_t h = 0; h <= H; ++h) {
      if (r == 0 || h == 0) {
        cost[r][h] = static_cast<int64_t>(r + h);
        continue;
      }
      const int64_t other = reference[r - 1] == hypothesis[h - 1] ? 0 : 1;
      cost[r][h] = std::min({cost[r - 1][h - 1] + other, cost[r - 1][h] + 1, cost[r][h - 1] + 1});
    }
  Edits out;
  out.reference = static_cast<int64_t>(R);
  for (size_t r = R, h = H; r > 0 || h > 0;) {
    const bool both = r > 0 && h > 0;
    const int64_t other = both && reference[r - 1] == hypothesis[h - 1] ? 0 : 1;
    if (both && cost[r][h] == cost[r - 1][h - 1] + other) {
      out.substitutions += other;
      --r, --h;
    } else if (r > 0 && cost[r][h] == cost[r - 1][h] + 1) {
      ++out.deletions;
      --r;
    } else {
      ++out.insertions;
      --h;
    }
  }
  return out;
}

}  // namespace lacuna::eval
