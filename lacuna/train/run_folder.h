#pragma once
// A run's folder: lock, config, metrics, TensorBoard events (contracts.md, "A run's folder").

#include <memory>
#include <string>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/io/file.h"
#include "lacuna/io/tensorboard.h"

namespace lacuna::train {

/// Owns RUN/ while a training process lives. Locked: a second process is refused by an Error.
class RunFolder {
 public:
  /// A new run: Error when the folder already holds one (the remedy names --resume).
  /// With `resume`, the folder must hold one (config.toml, metrics.jsonl or checkpoints).
  RunFolder(io::fs::path path, bool resume);
  const io::fs::path& path() const { return path_; }

  void write_config(const std::string& toml);
  /// One line of metrics.jsonl (appended whole, flushed) and its numbers but `step` as TensorBoard scalars.
  /// `metrics` holds an integer `step`.
  void log(const Json& metrics);
  /// After a resume: lines behind `step` (and a torn last line) are cut off, TensorBoard is told to purge.
  void rewind_metrics(int64_t step);
  /// RUN/previews/step-00000100.png and a TensorBoard image. `panel`: [H, W, 3] uint8.
  void save_preview(const at::Tensor& panel, int64_t step);
  /// RUN/previews/step-00000100.apng. `frames`: [T, H, W, 3] uint8, `rate` a second.
  void save_animation(const at::Tensor& frames, double rate, int64_t step);

 private:
  io::fs::path path_;
  io::FolderLock lock_;
  std::unique_ptr<io::EventWriter> events_;
};

/// The lines of RUN/metrics.jsonl; a torn last line is passed over, any other broken line is an Error.
std::vector<Json> read_metrics(const io::fs::path& run);

}  // namespace lacuna::train
