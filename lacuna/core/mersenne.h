#pragma once
// CPython's `random`, where official code draws with it and runs are to be bit-equal.

#include <cstdint>
#include <random>
#include <vector>

namespace lacuna {

/// random.Random(seed) for a non-negative integer: MT19937 seeded by init_by_array with the seed's 32-bit
/// words.
class PythonRandom {
 public:
  explicit PythonRandom(uint64_t seed);
  uint32_t bits();           ///< the next 32-bit word
  int64_t below(int64_t n);  ///< randbelow(n): bit_length(n) bits, drawn again until < n
  std::vector<int64_t> sample(int64_t n, int64_t count);  ///< random.sample(range(n), count), 0 <= count <= n

 private:
  std::mt19937 engine_;
};

}  // namespace lacuna
