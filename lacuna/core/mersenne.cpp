#include "lacuna/core/mersenne.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <unordered_set>

#include "lacuna/core/error.h"

namespace lacuna {
namespace {

constexpr size_t kWords = 624;

/// The state after init_by_array, handed to std::mt19937 word by word (seed() takes 624 of them from
/// generate()).
class InitByArray {
 public:
  using result_type = uint32_t;
  explicit InitByArray(const std::vector<uint32_t>& key) {
    state_[0] = 19650218U;
    for (size_t i = 1; i < kWords; ++i)
      state_[i] = 1812433253U * (state_[i - 1] ^ (state_[i - 1] >> 30)) + static_cast<uint32_t>(i);
    size_t i = 1, j = 0;
    const auto step = [&] {
      if (++i >= kWords) state_[0] = state_[kWords - 1], i = 1;
    };
    const auto previous = [&] { return state_[i - 1] ^ (state_[i - 1] >> 30); };
    for (size_t k = std::max(kWords, key.size()); k > 0; --k) {
      state_[i] = (state_[i] ^ (previous() * 1664525U)) + key[j] + static_cast<uint32_t>(j);
      step();
      j = (j + 1) % key.size();
    }
    for (size_t k = kWords - 1; k > 0; --k) {
      state_[i] = (state_[i] ^ (previous() * 1566083941U)) - static_cast<uint32_t>(i);
      step();
    }
    state_[0] = 0x80000000U;
  }
  template <class Out>
  void generate(Out begin, Out end) const {
    std::copy_n(state_.begin(), std::min<size_t>(kWords, static_cast<size_t>(end - begin)), begin);
  }

 private:
  std::array<uint32_t, kWords> state_;
};

}  // namespace

PythonRandom::PythonRandom(uint64_t seed) {
  std::vector<uint32_t> key{static_cast<uint32_t>(seed)};
  if (seed >> 32 != 0) key.push_back(static_cast<uint32_t>(seed >> 32));
  InitByArray state(key);
  engine_.seed(state);
}

uint32_t PythonRandom::bits() { return static_cast<uint32_t>(engine_()); }

int64_t PythonRandom::below(int64_t n) {
  LACUNA_ASSERT(n > 0 && n <= INT32_MAX);
  const int width = std::bit_width(static_cast<uint64_t>(n));
  int64_t value = n;
  while (value >= n) value = bits() >> (32 - width);
  return value;
}

std::vector<int64_t> PythonRandom::sample(int64_t n, int64_t count) {
  LACUNA_ASSERT(count >= 0 && count <= n);
  // Where a list of all is smaller than a set of those taken, the list is used (Lib/random.py).
  double set_size = 21;
  if (count > 5) set_size += std::pow(4, std::ceil(std::log(static_cast<double>(3 * count)) / std::log(4.0)));
  std::vector<int64_t> out;
  if (static_cast<double>(n) <= set_size) {
    std::vector<int64_t> pool(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) pool[static_cast<size_t>(i)] = i;
    for (int64_t i = 0; i < count; ++i) {
      const auto j = static_cast<size_t>(below(n - i));
      out.push_back(pool[j]);
      pool[j] = pool[static_cast<size_t>(n - i - 1)];
    }
    return out;
  }
  std::unordered_set<int64_t> taken;
  while (std::ssize(out) < count)
    if (const int64_t j = below(n); taken.insert(j).second) out.push_back(j);
  return out;
}

}  // namespace lacuna
