#pragma once
// Checkpoints: RUN/checkpoints/step-00001234/{model.safetensors, trainer.safetensors, state.json} and, where
// a moving average of the weights is kept, ema.safetensors (as model.safetensors); there whole or not at all
// (contracts.md, "A run's folder").

#include <optional>
#include <string>

#include "lacuna/core/config.h"
#include "lacuna/data/loader.h"
#include "lacuna/io/safetensors.h"

namespace lacuna::train {

/// Everything that a run needs to go on as if it had not stopped.
struct Checkpoint {
  int64_t step = 0;
  data::LoaderPosition position;
  io::Tensors model;    ///< official parameter names
  io::Tensors ema;      ///< their moving average; empty: none is kept
  io::Tensors trainer;  ///< optimiser state, teachers' schedules, ...
  Json state;  ///< counters, health, ...; `step`, `position` and `format` are added by save_checkpoint
  io::Metadata metadata;  ///< of model.safetensors: lacuna.method, lacuna.config (TOML), lacuna.step
};

/// Writes crash-safe. `run` is the run's folder.
void save_checkpoint(const io::fs::path& run, const Checkpoint& checkpoint);
/// Reads and checks one checkpoint folder; Error when a file is missing, cut short or of another format
/// version.
Checkpoint load_checkpoint(const io::fs::path& folder);

std::vector<io::fs::path> list_checkpoints(const io::fs::path& run);  ///< by step, ascending
/// The newest checkpoint that loads whole; broken ones are named by a warning and passed over.
std::optional<Checkpoint> newest_checkpoint(const io::fs::path& run);
/// Keeps the last `keep` (at least one) and what checkpoints/best points to. Broken ones don't count and
/// stay, to be looked at or written over.
void prune_checkpoints(const io::fs::path& run, int64_t keep);
/// RUN/checkpoints/best: a relative symbolic link, replaced atomically. Prunable once another is best.
void mark_best(const io::fs::path& run, int64_t step);
/// What checkpoints/best points to; nullopt when it is not there.
std::optional<io::fs::path> best_checkpoint(const io::fs::path& run);

/// Which weights of a run.
struct WeightsChoice {
  bool best = false;  ///< of the best checkpoint by probe, where there is one, instead of the newest
  bool ema = false;   ///< their moving average, which the run must have kept
};

/// Weights of a run folder (of the newest checkpoint that is whole, unless `choice` says otherwise), a
/// checkpoint folder, or a safetensors file. Error: nothing there, no checkpoint yet, all broken, no moving
/// average kept, a pickle (.pth, .pt, .bin, ...).
struct Weights {
  io::Tensors tensors;
  io::Metadata metadata;
  std::string origin;  ///< the file's path
};
Weights find_weights(const io::fs::path& run_or_file, WeightsChoice choice = {});
/// The moving average kept beside a checkpoint's model.safetensors; nullopt when there is none.
std::optional<Weights> average_beside(const Weights& model);

}  // namespace lacuna::train
