#pragma once
// What a run would be, without running it: behind `lacuna pretrain --dry-run`.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lacuna/train/advice.h"
#include "lacuna/train/config.h"

namespace lacuna::train {

struct ParameterCounts {
  int64_t total = 0, trainable = 0;
  int64_t encoder = 0;                   ///< all but decoders, mask tokens and other helpers of pre-training
  std::map<std::string, int64_t> parts;  ///< by the first word of their names
};
ParameterCounts count_parameters(const Method& method);

/// Bytes. Activations: the most that tensors held beside weights and gradients in a forward and backward pass
/// of a few pictures, in two sizes, extrapolated linearly to train.batch_size. What libraries take besides is
/// not in it.
struct MemoryEstimate {
  double weights = 0, gradients = 0, optimizer = 0, activations = 0;
  double batches = 0;            ///< finished ones held ready, on the host
  int64_t small = 0, large = 0;  ///< pictures of the two passes
  double total() const { return weights + gradients + optimizer + activations; }
};

struct MeasuredStep {
  int64_t steps = 0;      ///< measured, after a first one that is not
  double seconds = 0;     ///< of a step, median, data included
  double data_share = 0;  ///< of it, waiting for data
};

struct DryRun {
  std::string device;
  Plan plan;
  ParameterCounts parameters;
  MemoryEstimate memory;
  std::optional<MeasuredStep> step;
  std::string not_measured;  ///< why there is no `step`
  std::vector<std::string> rules, warnings;
  Json config;
  Json to_json() const;
  std::string to_text() const;  ///< a summary of a few lines
};

/// Settles `config` as a run would (Errors are the run's own) and measures; writes nothing. `measure`: take a
/// few real steps, unless they would not fit into memory.
DryRun dry_run(RunConfig& config, bool measure);

}  // namespace lacuna::train
