#include "lacuna/text/merges.h"

#include <limits>
#include <queue>
#include <tuple>

namespace lacuna::text {
namespace {

constexpr size_t kShort = 48;  // symbols up to which looking at all pairs beats a heap

uint64_t key_of(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

void Merges::add(int32_t left, int32_t right, int32_t joined) {
  merges_.try_emplace(key_of(left, right), Merge{static_cast<int32_t>(count_), joined});
  ++count_;
}

const Merges::Merge* Merges::find(int32_t left, int32_t right) const {
  const auto found = merges_.find(key_of(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void Merges::apply(Ids& symbols) const {
  if (symbols.size() <= kShort)
    apply_short(symbols);
  else
    apply_long(symbols);
}

void Merges::apply_short(Ids& symbols) const {
  constexpr int32_t kNone = std::numeric_limits<int32_t>::max();
  int32_t rank[kShort], joined[kShort];
  const auto look = [&](size_t i) {
    const auto* merge = find(symbols[i], symbols[i + 1]);
    rank[i] = merge ? merge->rank : kNone;
    joined[i] = merge ? merge->joined : 0;
  };
  size_t n = symbols.size();
  for (size_t i = 0; i + 1 < n; ++i) look(i);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i)
      if (rank[i] < rank[best]) best = i;
    if (rank[best] == kNone) break;
    symbols[best] = joined[best];
    for (size_t i = best + 1; i + 1 < n; ++i) {
      symbols[i] = symbols[i + 1];
      rank[i] = rank[i + 1];
      joined[i] = joined[i + 1];
    }
    --n;
    if (best > 0) look(best - 1);
    if (best + 1 < n) look(best);
  }
  symbols.resize(n);
}

void Merges::apply_long(Ids& symbols) const {
  // A doubly linked list of living symbols and a heap of (rank, place); an entry whose symbols have changed
  // since is recognised by what it would join.
  struct Entry {
    int32_t rank, left, right, joined;
    size_t at;
    bool operator>(const Entry& other) const { return std::tie(rank, at) > std::tie(other.rank, other.at); }
  };
  const size_t n = symbols.size(), none = n;
  std::vector<size_t> before(n), after(n);
  for (size_t i = 0; i < n; ++i) {
    before[i] = i == 0 ? none : i - 1;
    after[i] = i + 1;
  }
  std::vector<bool> alive(n, true);
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> heap;
  const auto look = [&](size_t i) {
    if (i == none || after[i] == none) return;
    if (const auto* merge = find(symbols[i], symbols[after[i]]))
      heap.push({merge->rank, symbols[i], symbols[after[i]], merge->joined, i});
  };
  for (size_t i = 0; i < n; ++i) look(i);
  while (!heap.empty()) {
    const auto top = heap.top();
    heap.pop();
    const size_t next = alive[top.at] ? after[top.at] : none;
    if (next == none || symbols[top.at] != top.left || symbols[next] != top.right) continue;
    symbols[top.at] = top.joined;
    alive[next] = false;
    after[top.at] = after[next];
    if (after[next] != none) before[after[next]] = top.at;
    look(before[top.at]);
    look(top.at);
  }
  size_t kept = 0;
  for (size_t i = 0; i < n; ++i)
    if (alive[i]) symbols[kept++] = symbols[i];
  symbols.resize(kept);
}

}  // namespace lacuna::text
