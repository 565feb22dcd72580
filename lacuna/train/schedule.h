#pragma once
// The course of the learning rate.

#include <string>
#include <vector>

namespace lacuna::train {

struct Plan;
struct TrainConfig;

/// "cosine", "timm_cosine", "multistep", "linear", "polynomial", "tri_stage", "vjepa_cosine",
/// "micro_cosine" (lit-gpt: "cosine" by micro-iteration, as MEAP's pre-training sets it), "cyclic".
std::vector<std::string> schedule_names();

/// Linear warm-up from `warmup_lr`, then half a cosine to min_lr, by fractional epoch (MAE, util/lr_sched.py,
/// which starts from 0).
double cosine_lr(double epoch, double epochs, double warmup_epochs, double lr, double min_lr,
                 double warmup_lr = 0);

/// Schedules by iteration (SimMIM, lr_scheduler.py; timm's schedulers with t_in_epochs = False). `t` counts
/// iterations; while t < warmup the rate rises linearly from warmup_lr to `lr`. Afterwards:
///   timm_cosine: min_lr + (lr - min_lr) (1 + cos(pi t / steps)) / 2, t not shifted by the warm-up; min_lr
///   from `steps` on multistep:   lr * gamma ^ (number of milestones <= t) linear:      from lr to
///   lr_min_rate * lr over the iterations after the warm-up
///   polynomial:  from lr to min_lr over the iterations after the warm-up (fairseq's polynomial_decay), the
///   line raised to `power`
///   tri_stage:   lr for `hold` iterations, then down to min_lr by a constant factor an iteration over
///   `decay` iterations (0: those that are left), then min_lr (fairseq's tri_stage, SpecAugment's)
///   cyclic:      in every `steps` iterations from warmup_lr to lr by half a cosine over `warmup` of them,
///   then to min_lr by another (mmcv's CyclicLrUpdaterHook, as GeoMAE and SST set it)
struct IterationSchedule {
  std::string type = "timm_cosine";
  double steps = 0, warmup = 0;  ///< iterations
  double min_lr = 0, warmup_lr = 0;
  double hold = 0, decay = 0;      ///< iterations
  std::vector<double> milestones;  ///< iterations
  double gamma = 0.1, lr_min_rate = 0.01, power = 1;
  double at(double t, double lr) const;
};

/// V-JEPA's WarmupCosineSchedule for the k-th iteration, counted from 1: linear from warmup_lr to lr over
/// `warmup` iterations, then half a cosine to min_lr, reached at iteration `planned`.
double vjepa_lr(double k, double planned, double warmup, double lr, double min_lr, double warmup_lr);
/// V-JEPA's CosineWDSchedule: half a cosine from `from` at k = 0 to `to` at k = planned, and never beyond.
double cosine_weight_decay(double k, double planned, double from, double to);
/// The weight decay of optimiser step `step` (0 = the first).
double weight_decay_at(const TrainConfig& config, const Plan& plan, int64_t step);

/// The learning rate of optimiser step `step` (0 = the first) for a group whose rate is scaled by `lr_scale`.
/// The official MAE code sets it before a step (so that the first one has the warm-up's start) and scales
/// min_lr too; SimMIM's updates it behind a step, so that the first two have it, and keeps min_lr absolute.
double learning_rate(const TrainConfig& config, const Plan& plan, int64_t step, double lr_scale = 1);

}  // namespace lacuna::train
