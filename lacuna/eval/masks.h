#pragma once
// What tuned masks are worth (R-AMT).

#include "lacuna/eval/protocol.h"
#include "lacuna/method/r_amt.h"

namespace lacuna::eval {

/// The model's method; Error when it is no R-AMT.
RAmt& r_amt_of(const Model& model, const std::string& protocol);

/// Accuracies on `test`: all_top1 among all classes; base_top1, new_top1: records of one half told apart
/// among that half; harmonic_top1 of the two; top1: the one of head.classes; frozen_*: the same without
/// masks; random_*: with as many bits of each tensor at random places (mean of three draws). `compare`: with
/// frozen_* and random_*. chance; sparsity, kept (its complement; kept_wanted: nine tenths, the paper's
/// order).
Json mask_metrics(const Model& model, const std::shared_ptr<data::Dataset>& test, const EvalConfig& config,
                  bool compare);

/// What was masked: a chart of each module's share by block.
Json mask_curves(const RAmt& method);

}  // namespace lacuna::eval
