#pragma once
// The loop: one for all methods.

#include <cmath>
#include <memory>
#include <set>
#include <string>

#include "lacuna/data/loader.h"
#include "lacuna/train/advice.h"
#include "lacuna/train/checkpoint.h"
#include "lacuna/train/config.h"
#include "lacuna/train/health.h"
#include "lacuna/train/monitor.h"
#include "lacuna/train/optim.h"
#include "lacuna/train/processes.h"
#include "lacuna/train/run_folder.h"
#include "lacuna/train/step.h"

namespace lacuna::train {

/// The device that `train.device` means here; Error when a GPU is asked for and there is none.
torch::Device choose_device(const std::string& device);

/// Opens the data and settles what follows from them: head.num_classes, and what their modality says
/// (Modality::settle). Resolves `config`. `dataset`: instead of data.uri's, when it is a part of it. Error
/// when the data are of another modality than the method's input.
std::shared_ptr<data::Dataset> settle_data(RunConfig& config,
                                           std::shared_ptr<data::Dataset> dataset = nullptr);
/// Record -> input of `method`, as the config says.
std::shared_ptr<const data::Transform> make_transform(const RunConfig& config, const Method& method);

/// The optimiser that `config` names, over the method's trainable parameters.
std::unique_ptr<Optimizer> make_optimizer(const Method& method, const TrainConfig& config);
/// Loads train.init, if there is one; where a run starts from, and what of it did not fit, is logged.
void load_init(Method& method, const RunConfig& config);

/// One run in one folder. The same config and seed give the same losses, bit for bit on one machine, however
/// often the run was stopped and resumed.
class Trainer {
 public:
  /// `config` is settled and written to RUN/config.toml (new run) or was read from there (resume).
  /// `processes`: those that train it together, null for one alone; the first writes the folder. `dataset`:
  /// as for settle_data.
  Trainer(std::unique_ptr<RunConfig> config, const io::fs::path& run, bool resume,
          Processes* processes = nullptr, std::shared_ptr<data::Dataset> dataset = nullptr);
  /// Trains to the end. Throws Interrupted after SIGINT or SIGTERM, Error when steps keep failing,
  /// LostProcesses when another process is gone; a checkpoint is there in either case.
  void run();
  const Plan& plan() const { return plan_; }
  /// The last verdict, for the closing lines.
  const Verdict& verdict() const { return verdict_; }

 private:
  void start_together();
  void resume_from(const Checkpoint& checkpoint);
  void seek(const Checkpoint& checkpoint);
  void begin();
  void step_once();
  Progress progress() const;  ///< after step_ steps
  void after_step(const StepResult& result, const std::vector<Batch>& batches, double lr);
  double average_decay() const;  ///< of the step just taken
  void skip_step(const StepResult& result, const std::vector<Batch>& batches);
  void note_overflow();
  void log_step(const StepResult& result, double lr, int64_t items);
  void check_health();
  void show_preview();
  void save();
  void resume_average(const Checkpoint& checkpoint);
  nn::Ema* average() const;  ///< kept in checkpoints: the method's own, or train.ema_decay's; null: none
  [[noreturn]] void rescue(const LostProcesses& lost);
  int64_t world() const;         ///< processes
  int64_t global_batch() const;  ///< records of one batch of all processes
  std::vector<Batch> next_batches();
  Batch next_batch();

  Processes* processes_;  ///< null: one
  std::unique_ptr<RunConfig> config_;
  io::fs::path run_;
  torch::Device device_;
  std::shared_ptr<data::Dataset> dataset_;
  std::shared_ptr<Method> method_;
  std::unique_ptr<data::Loader> loader_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<GradientAverager> averager_;  ///< null: one process
  std::unique_ptr<nn::Ema> average_;            ///< of train.ema_decay; null: off
  std::unique_ptr<Monitor> monitor_;            ///< null in all processes but the first
  /// Made last: a run that can't begin leaves nothing behind. Null in all processes but the first.
  std::unique_ptr<RunFolder> folder_;
  StepState step_state_;
  Plan plan_;
  std::vector<std::string> rules_;  ///< applied to make the plan

  std::set<int64_t> bad_records_;  ///< met in the batches given out, not in one that could not be read
  int64_t step_ = 0, skipped_ = 0, skipped_in_row_ = 0, overflows_ = 0;
  data::LoaderPosition position_;  ///< after step_
  uint64_t buffer_version_ = 0;    ///< before the step that is under way
  bool stop_ = false;              ///< a signal reached one of several processes
  int64_t saved_step_ = -1;
  double saved_at_ = 0;  ///< monotonic seconds
  double loss_sum_ = 0;  ///< since the last health check
  int64_t loss_count_ = 0;
  double shown_loss_ = NAN;  ///< running mean behind the progress bar
  std::vector<Health> health_;
  Verdict verdict_;
  double clock_ = 0, wait_ = 0, items_ = 0;    ///< at the last logged step
  double health_clock_ = 0, health_wait_ = 0;  ///< at the last health check
};

}  // namespace lacuna::train
