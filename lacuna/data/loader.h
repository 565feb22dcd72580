#pragma once
// Batches, made by worker threads, a bounded number ahead. Batch number n of an epoch is a pure function of
// (seed, epoch, n, world, rank): workers, timing and resumes change nothing.

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "lacuna/data/batch.h"
#include "lacuna/data/dataset.h"
#include "lacuna/data/input.h"

namespace lacuna::data {

/// What a loader gives, and with how many hands.
struct LoaderConfig {
  int64_t batch_size = 64;  ///< of this process
  int64_t workers = 2;      ///< threads that decode; 0 decodes in the calling thread
  int64_t prefetch = 4;     ///< finished batches held ahead at most
  bool shuffle = true;
  bool drop_last = true;  ///< training; evaluation keeps the last, smaller batch
  uint64_t seed = 0;
  int64_t rank = 0, world = 1;
  int64_t max_bad = 0;  ///< this many broken records are named, counted and skipped; one more is an Error
};

/// Position of the next batch: `epoch`, and the number of batches of it already given.
struct LoaderPosition {
  int64_t epoch = 0, batch = 0;
  bool operator==(const LoaderPosition&) const = default;
};

/// A record broken in training is replaced by another, chosen by its position alone, so that batches stay
/// whole; in evaluation (drop_last = false) it is left out.
class Loader {
 public:
  /// Error when the set holds fewer records than one batch of all processes (with drop_last), or none.
  Loader(std::shared_ptr<const Dataset> dataset, std::shared_ptr<const Transform> transform,
         LoaderConfig config);
  /// With a transform of its own.
  template <std::derived_from<Transform> T>
  Loader(std::shared_ptr<const Dataset> dataset, T transform, LoaderConfig config)
      : Loader(std::move(dataset), std::make_shared<const T>(std::move(transform)), config) {}
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  int64_t batches_per_epoch() const;   ///< the same in every process
  void seek(LoaderPosition position);  ///< restarts the workers there
  LoaderPosition position() const;     ///< of the next batch
  /// The next batch; rolls over into the next epoch. Rethrows a worker's Error.
  Batch next();
  /// The next batch of this epoch; nullopt at its end (then the next epoch begins).
  std::optional<Batch> next_in_epoch();
  double wait_seconds() const;  ///< time spent in next() waiting for a batch, so far
  /// Numbers of the broken records met so far; each counts once against max_bad.
  const std::set<int64_t>& bad_records() const;
  void set_bad_records(std::set<int64_t> records);  ///< after a resume

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lacuna::data
