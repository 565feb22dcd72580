#pragma once
// What some methods need before their training: labels to be made, a teacher to be trained. Part of the same
// command and the same folder, and resumed like the run itself.

#include <functional>
#include <memory>

#include "lacuna/train/config.h"
#include "lacuna/train/processes.h"

namespace lacuna::train {

/// Registered by a method's name, in train/prepare_METHOD.cpp.
struct Preparation {
  static const char* noun() { return "preparation"; }
  /// Does what is not yet done, keeps it below `run`, and sets the keys of `config` that follow (label files,
  /// a teacher's weights). Runs in every process. Throws Interrupted after a signal.
  std::function<void(RunConfig& config, const io::fs::path& run, Processes* processes)> run;
};

/// The config that a stopped run goes on with: RUN/config.toml, or, where training has not begun,
/// RUN/preparation.toml; empty when there is neither.
io::fs::path config_to_resume(const io::fs::path& run);

/// The config as TOML with those keys alone that the user or a recipe gave: what follows from them follows
/// again.
std::string chosen_toml(const RunConfig& config);

/// Runs the method's preparation, if it has one and training has not begun. Returns whether the Trainer is to
/// resume. Error when the folder holds a begun run and `resume` is false.
bool prepare(RunConfig& config, const io::fs::path& run, bool resume, Processes* processes = nullptr);

/// A run that comes before (a first iteration, a teacher): trained in `run` unless it is finished there,
/// resumed where it was begun. `fresh` makes its config; `what` is what the log calls it.
void train_before(const io::fs::path& run, const std::string& what,
                  const std::function<std::unique_ptr<RunConfig>()>& fresh, Processes* processes);

}  // namespace lacuna::train
