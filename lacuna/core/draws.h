#pragma once
// Randomness as data (architecture.md, idea 1). Whatever is random is asked for by name; no global generator
// exists. A draw is a pure function of (seed, step, name, sample): workers, processes, call order and resume
// change nothing.

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace lacuna {

/// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

/// A scalar generator for one (seed, name, sample, step): augmentations, shuffles, synthetic pictures.
class Stream {
 public:
  /// Equal arguments give equal numbers; streams of different names, samples or steps are independent.
  Stream(uint64_t seed, std::string_view name, uint64_t sample = 0, uint32_t step = 0);
  uint32_t bits();                              ///< 32 random bits
  double uniform();                             ///< [0, 1), 53 bits
  double uniform(double low, double high);      ///< [low, high)
  int64_t below(int64_t n);                     ///< 0 .. n-1, unbiased; n > 0
  double normal();                              ///< N(0, 1), Box-Muller
  std::vector<int64_t> permutation(int64_t n);  ///< Fisher-Yates of 0 .. n-1

 private:
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 4> counter_, block_{};
  int used_ = 4;
};

/// Random tensors by name. The first dimension of `shape` counts the samples of the batch.
class Draws {
 public:
  virtual ~Draws() = default;
  /// U[0, 1), float32, CPU.
  virtual at::Tensor uniform(std::string_view name, at::IntArrayRef shape) = 0;
  /// N(0, 1), float32, CPU.
  virtual at::Tensor normal(std::string_view name, at::IntArrayRef shape) = 0;
  /// [samples, n] int64: a permutation of 0 .. n-1 for each sample.
  virtual at::Tensor permutation(std::string_view name, int64_t samples, int64_t n) = 0;
};

/// Draws of training: computed from (seed, step, name, sample).
class SeededDraws final : public Draws {
 public:
  /// `samples`: one number for each row of the batch, unique within the step over all processes.
  /// When empty, row b has number b.
  explicit SeededDraws(uint64_t seed, uint64_t step = 0, std::vector<int64_t> samples = {});
  at::Tensor uniform(std::string_view name, at::IntArrayRef shape) override;
  at::Tensor normal(std::string_view name, at::IntArrayRef shape) override;
  at::Tensor permutation(std::string_view name, int64_t samples, int64_t n) override;

 private:
  Stream stream(std::string_view name, int64_t row) const;

  uint64_t seed_;
  uint32_t step_;
  std::vector<int64_t> samples_;
};

/// Draws of a golden case: answered by name from recorded tensors, never drawn.
class RecordedDraws final : public Draws {
 public:
  /// Asked for a name that is not there, or in another shape, it gives an Error.
  explicit RecordedDraws(std::map<std::string, at::Tensor> recorded);
  at::Tensor uniform(std::string_view name, at::IntArrayRef shape) override;
  at::Tensor normal(std::string_view name, at::IntArrayRef shape) override;
  at::Tensor permutation(std::string_view name, int64_t samples, int64_t n) override;

 private:
  at::Tensor recorded(std::string_view name, at::IntArrayRef shape) const;

  std::map<std::string, at::Tensor> recorded_;
};

}  // namespace lacuna
