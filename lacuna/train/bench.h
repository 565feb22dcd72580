#pragma once
// How fast training is, part by part: behind `lacuna bench`.

#include <string>
#include <vector>

#include "lacuna/train/config.h"

namespace lacuna::train {

/// Durations of repeated pieces of work, in seconds.
struct Timing {
  std::vector<double> seconds;
  double median() const;
  double quantile(double share) const;  ///< 0 .. 1, linear between neighbours
  Json to_json() const;                 ///< median, p10, p90, min, max, runs
};

struct BenchOptions {
  int64_t warmup = 3, runs = 20;  ///< pieces of work that are not counted, and that are
  bool cold = false;              ///< startup: the kernel forgets all files before each run; needs root
};

/// Optimiser steps of the config's method on one batch of random pictures (and labels) that lies ready:
/// forward, backward, clipping, update. {"step_s": Timing, "items_per_s", "peak_memory_mib", ...}
Json bench_step(RunConfig& config, const BenchOptions& options);
/// Batches of the config's data through its loader and augmentation. {"batch_s": Timing, "items_per_s", ...}
Json bench_data(RunConfig& config, const BenchOptions& options);
/// `program` pretraining one step of the config's method from a new process. {"first_step_s": Timing of the
/// time until the first step is logged, "startup_s": until the process has ended (a last health check and the
/// checkpoint included), "cold", ...}
Json bench_startup(const std::string& program, RunConfig& config, const BenchOptions& options);

/// One or several lines for a person.
std::string bench_text(const Json& result);

}  // namespace lacuna::train
