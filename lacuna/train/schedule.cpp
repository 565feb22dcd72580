#include "lacuna/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "lacuna/core/error.h"
#include "lacuna/train/advice.h"
#include "lacuna/train/config.h"

namespace lacuna::train {

std::vector<std::string> schedule_names() {
  return {"cosine",    "timm_cosine",  "multistep",    "linear", "polynomial",
          "tri_stage", "vjepa_cosine", "micro_cosine", "cyclic"};
}

double cosine_lr(double epoch, double epochs, double warmup_epochs, double lr, double min_lr,
                 double warmup_lr) {
  if (epoch < warmup_epochs) return warmup_lr + (lr - warmup_lr) * epoch / warmup_epochs;
  if (epoch >= epochs) return min_lr;
  const double done = (epoch - warmup_epochs) / (epochs - warmup_epochs);
  return min_lr + (lr - min_lr) * 0.5 * (1 + std::cos(std::numbers::pi * done));
}

namespace {

double half_cosine(double from, double to, double done) {
  return to + 0.5 * (from - to) * (std::cos(std::numbers::pi * done) + 1);
}

}  // namespace

double IterationSchedule::at(double t, double lr) const {
  if (type == "cyclic") {
    const double k = std::fmod(t, steps);
    return k < warmup ? half_cosine(warmup_lr, lr, k / warmup)
                      : half_cosine(lr, min_lr, (k - warmup) / (steps - warmup));
  }
  if (t < warmup) return warmup_lr + t * (lr - warmup_lr) / warmup;
  if (type == "timm_cosine")
    return t >= steps ? min_lr : min_lr + 0.5 * (lr - min_lr) * (1 + std::cos(std::numbers::pi * t / steps));
  if (type == "multistep") {
    const auto passed = std::count_if(milestones.begin(), milestones.end(), [&](double m) { return m <= t; });
    return lr * std::pow(gamma, static_cast<double>(passed));
  }
  if (type == "polynomial")
    return t >= steps ? min_lr
                      : min_lr + (lr - min_lr) * std::pow(1 - (t - warmup) / (steps - warmup), power);
  if (type == "tri_stage") {
    const double fallen = t - warmup - hold, whole = decay > 0 ? decay : steps - warmup - hold;
    if (fallen <= 0) return lr;
    return fallen >= whole || min_lr <= 0 ? min_lr : lr * std::pow(min_lr / lr, fallen / whole);
  }
  LACUNA_ASSERT(type == "linear");
  return lr - (lr - lr * lr_min_rate) * (t - warmup) / (steps - warmup);
}

double vjepa_lr(double k, double planned, double warmup, double lr, double min_lr, double warmup_lr) {
  if (k < warmup) return warmup_lr + k / std::max(1.0, warmup) * (lr - warmup_lr);
  const double done = (k - warmup) / std::max(1.0, planned - warmup);
  return std::max(min_lr, min_lr + (lr - min_lr) * 0.5 * (1 + std::cos(std::numbers::pi * done)));
}

double cosine_weight_decay(double k, double planned, double from, double to) {
  const double now = to + (from - to) * 0.5 * (1 + std::cos(std::numbers::pi * k / planned));
  return to <= from ? std::max(to, now) : std::min(to, now);
}

namespace {

/// Iterations that a schedule is made for, where the run may stop before.
double planned_steps(const TrainConfig& config, const Plan& plan) {
  return std::floor(config.schedule_scale * static_cast<double>(plan.steps));
}

}  // namespace

double weight_decay_at(const TrainConfig& config, const Plan& plan, int64_t step) {
  if (config.weight_decay_end < 0) return config.weight_decay;
  return cosine_weight_decay(static_cast<double>(step + 1), planned_steps(config, plan), config.weight_decay,
                             config.weight_decay_end);
}

double learning_rate(const TrainConfig& config, const Plan& plan, int64_t step, double lr_scale) {
  const auto per_epoch = static_cast<double>(plan.steps_per_epoch);
  if (config.schedule == "cosine")
    return lr_scale * cosine_lr(static_cast<double>(step) / per_epoch, plan.epochs, plan.warmup_epochs,
                                plan.lr, plan.min_lr, plan.warmup_lr);
  if (config.schedule == "micro_cosine") {
    // The last of a step's micro-iterations sets its rate; warm-up and end are counted in them too.
    const double t = static_cast<double>(step + 1) - 1 / static_cast<double>(config.accum);
    return lr_scale * cosine_lr(t, static_cast<double>(plan.steps),
                                std::round(plan.warmup_epochs * per_epoch), plan.lr, plan.min_lr,
                                plan.warmup_lr);
  }
  if (config.schedule == "vjepa_cosine")
    return lr_scale * vjepa_lr(static_cast<double>(step + 1), planned_steps(config, plan),
                               std::floor(plan.warmup_epochs * per_epoch), plan.lr, plan.min_lr,
                               plan.warmup_lr);
  IterationSchedule schedule{.type = config.schedule,
                             .steps = static_cast<double>(plan.steps),
                             .warmup = std::floor(plan.warmup_epochs * per_epoch),
                             .min_lr = plan.min_lr,
                             .warmup_lr = plan.warmup_lr,
                             .hold = std::floor(config.hold_epochs * per_epoch),
                             .decay = std::floor(config.decay_epochs * per_epoch),
                             .gamma = config.gamma};
  for (const double epoch : config.milestones) schedule.milestones.push_back(epoch * per_epoch);
  // fairseq and mmcv count finished updates, SimMIM's scheduler lags one behind.
  const bool finished =
      config.schedule == "polynomial" || config.schedule == "tri_stage" || config.schedule == "cyclic";
  const int64_t t = finished ? step : std::max<int64_t>(step - 1, 0);
  return schedule.at(static_cast<double>(t), plan.lr * lr_scale);
}

}  // namespace lacuna::train
