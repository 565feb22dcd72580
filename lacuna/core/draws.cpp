#include "lacuna/core/draws.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>
#include <numeric>

#include "lacuna/core/error.h"

namespace lacuna {

namespace {

// Names are spread over the key space by FNV-1a, then mixed with the seed by SplitMix64's finaliser.
uint64_t mix(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ULL;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

std::array<uint32_t, 2> key_of(uint64_t seed, std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325ULL;
  for (const unsigned char c : name) hash = (hash ^ c) * 0x100000001b3ULL;
  const uint64_t key = mix(hash + mix(seed + 0x9e3779b97f4a7c15ULL));
  return {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)};
}

int64_t elements(at::IntArrayRef shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

// float32 of this shape; the values of a row come from `stream(row)`, in order.
template <class RowStream, class Draw>
at::Tensor fill(at::IntArrayRef shape, RowStream stream, Draw draw) {
  auto out = at::empty(shape, at::kFloat);
  const int64_t rows = shape.empty() ? 1 : shape[0], width = elements(shape) / std::max<int64_t>(rows, 1);
  auto* value = out.mutable_data_ptr<float>();
  for (int64_t row = 0; row < rows; ++row) {
    Stream random = stream(row);
    for (int64_t i = 0; i < width; ++i) *value++ = draw(random);
  }
  return out;
}

}  // namespace

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

Stream::Stream(uint64_t seed, std::string_view name, uint64_t sample, uint32_t step)
    : key_(key_of(seed, name)),
      counter_{0, step, static_cast<uint32_t>(sample), static_cast<uint32_t>(sample >> 32)} {}

uint32_t Stream::bits() {
  if (used_ == 4) {
    block_ = philox(counter_, key_);
    ++counter_[0];
    used_ = 0;
  }
  return block_[used_++];
}

double Stream::uniform() {
  const uint64_t high = bits() >> 5, low = bits() >> 6;
  return static_cast<double>(high * 67108864 + low) * 0x1.0p-53;
}

double Stream::uniform(double low, double high) { return low + (high - low) * uniform(); }

int64_t Stream::below(int64_t n) {
  LACUNA_ASSERT(n > 0);
  const auto range = static_cast<uint64_t>(n);
  const uint64_t limit = UINT64_MAX - UINT64_MAX % range;
  for (;;) {
    const uint64_t high = bits();
    const uint64_t value = (high << 32) | bits();
    if (value < limit) return static_cast<int64_t>(value % range);
  }
}

double Stream::normal() {
  const double radius = std::sqrt(-2.0 * std::log1p(-uniform()));
  return radius * std::cos(2.0 * std::numbers::pi * uniform());
}

std::vector<int64_t> Stream::permutation(int64_t n) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), int64_t{0});
  for (int64_t i = n - 1; i > 0; --i) std::swap(order[i], order[below(i + 1)]);
  return order;
}

SeededDraws::SeededDraws(uint64_t seed, uint64_t step, std::vector<int64_t> samples)
    : seed_(seed), step_(static_cast<uint32_t>(step)), samples_(std::move(samples)) {}

Stream SeededDraws::stream(std::string_view name, int64_t row) const {
  LACUNA_ASSERT(samples_.empty() || row < static_cast<int64_t>(samples_.size()));
  const int64_t sample = samples_.empty() ? row : samples_[row];
  return Stream(seed_, name, static_cast<uint64_t>(sample), step_);
}

at::Tensor SeededDraws::uniform(std::string_view name, at::IntArrayRef shape) {
  return fill(
      shape, [&](int64_t row) { return stream(name, row); },
      [](Stream& random) { return static_cast<float>(random.bits() >> 8) * 0x1.0p-24F; });
}

at::Tensor SeededDraws::normal(std::string_view name, at::IntArrayRef shape) {
  return fill(
      shape, [&](int64_t row) { return stream(name, row); },
      [](Stream& random) { return static_cast<float>(random.normal()); });
}

at::Tensor SeededDraws::permutation(std::string_view name, int64_t samples, int64_t n) {
  auto out = at::empty({samples, n}, at::kLong);
  for (int64_t row = 0; row < samples; ++row) {
    const auto order = stream(name, row).permutation(n);
    std::copy(order.begin(), order.end(), out.mutable_data_ptr<int64_t>() + row * n);
  }
  return out;
}

RecordedDraws::RecordedDraws(std::map<std::string, at::Tensor> recorded) : recorded_(std::move(recorded)) {}

at::Tensor RecordedDraws::recorded(std::string_view name, at::IntArrayRef shape) const {
  const auto found = recorded_.find(std::string(name));
  if (found == recorded_.end())
    fail(str("draw '", name, "'"), "the case's inputs do not hold it", "record it under this name");
  if (found->second.sizes() != shape)
    fail(str("draw '", name, "'"),
         lacuna::str("recorded as ", found->second.sizes(), ", asked for as ", shape),
         "make the recorded draw fit the case's config");
  return found->second;
}

at::Tensor RecordedDraws::uniform(std::string_view name, at::IntArrayRef shape) {
  return recorded(name, shape);
}

at::Tensor RecordedDraws::normal(std::string_view name, at::IntArrayRef shape) {
  return recorded(name, shape);
}

at::Tensor RecordedDraws::permutation(std::string_view name, int64_t samples, int64_t n) {
  return recorded(name, {samples, n}).to(at::kLong);
}

}  // namespace lacuna
