#pragma once
// What a run is told before its first step: the rules that were applied, and settings that rarely end well.

#include <string>
#include <vector>

#include "lacuna/train/config.h"

namespace lacuna::train {

/// Sizes that follow from config and data.
struct Plan {
  int64_t records = 0;          ///< in the training data
  int64_t steps_per_epoch = 0;  ///< optimiser steps
  int64_t steps = 0;            ///< of the whole run
  double epochs = 0;            ///< steps / steps_per_epoch
  double warmup_epochs = 0;
  int64_t effective_batch = 0;  ///< batch_size * accum * processes
  double lr = 0;                ///< peak
  double min_lr = 0, warmup_lr = 0;
  int64_t checkpoint_every = 0, health_every = 0, preview_every = 0;
};

/// Error when the data hold less than one batch. `batches_per_epoch`: what the loader gives to one process.
Plan make_plan(const RunConfig& config, int64_t records, int64_t batches_per_epoch, int64_t world);

/// One line for each rule that was used ("lr = 1.5e-4 x 128 / 256 = 7.5e-5").
std::vector<std::string> rules_used(const RunConfig& config, const Plan& plan);
/// One line for each setting that rarely ends well, with what to do.
std::vector<std::string> warnings(const RunConfig& config, const Plan& plan);

}  // namespace lacuna::train
