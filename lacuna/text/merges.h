#pragma once
// Byte-pair encoding (Sennrich et al., ACL 2016): neighbouring symbols are joined by rank.

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace lacuna::text {

using Ids = std::vector<int32_t>;  ///< numbers of tokens

/// The merges of one vocabulary.
class Merges {
 public:
  /// The pair (left, right) becomes `joined`; merges are added in the order of their rank. The first of two
  /// equal pairs counts.
  void add(int32_t left, int32_t right, int32_t joined);
  size_t size() const { return count_; }
  /// Joins the pair of lowest rank, the leftmost of several, until none applies: O(n log n).
  void apply(Ids& symbols) const;

 private:
  struct Merge {
    int32_t rank, joined;
  };
  const Merge* find(int32_t left, int32_t right) const;
  void apply_short(Ids& symbols) const;
  void apply_long(Ids& symbols) const;

  std::unordered_map<uint64_t, Merge> merges_;
  size_t count_ = 0;
};

}  // namespace lacuna::text
