#include "lacuna/train/advice.h"

#include <algorithm>
#include <cmath>

#include "lacuna/core/error.h"

namespace lacuna::train {

namespace {

constexpr double kWarmupShare = 0.1;
constexpr int64_t kHealthChecks = 10, kPreviews = 6, kCheckpoints = 10;
// Below this the linear rule's learning rate is so small, and its gradient so noisy, that pixel losses barely
// move.
constexpr int64_t kSmallBatch = 32;
constexpr int64_t kFewSteps = 300;
constexpr double kHighRate = 4;  // times the rule's

// The linear rule: how far this batch is from the one that the base rates are given for.
double batch_scale(const TrainConfig& train, const Plan& plan) {
  return static_cast<double>(plan.effective_batch) / static_cast<double>(train.lr_batch);
}

/// The method's paper gives the rate itself, whatever the batch.
bool has_its_own_rate(const MethodInfo& info) {
  return std::any_of(info.defaults.begin(), info.defaults.end(),
                     [](const std::string& setting) { return setting.starts_with("train.lr="); });
}

int64_t share_of(int64_t steps, int64_t parts) { return std::max<int64_t>(1, steps / parts); }

}  // namespace

Plan make_plan(const RunConfig& config, int64_t records, int64_t batches_per_epoch, int64_t world) {
  const auto& train = config.train;
  Plan plan{.records = records, .effective_batch = train.batch_size * train.accum * world};
  plan.steps_per_epoch = batches_per_epoch / train.accum;
  if (plan.steps_per_epoch == 0)
    fail("train.batch_size " + str(train.batch_size),
         str("one step needs ", plan.effective_batch, " records, the data hold ", records),
         "lower train.batch_size or train.accum, or give more data");
  plan.steps =
      train.steps >= 0
          ? train.steps
          : static_cast<int64_t>(std::llround(train.epochs * static_cast<double>(plan.steps_per_epoch)));
  plan.epochs = static_cast<double>(plan.steps) / static_cast<double>(plan.steps_per_epoch);
  // The papers' warm-ups are for hundreds of epochs; a short run that did not ask for one gets the same
  // share.
  plan.warmup_epochs = config.table.is_set("train.warmup_epochs")
                           ? train.warmup_epochs
                           : std::min(train.warmup_epochs, kWarmupShare * plan.epochs);
  const auto scaled = [&](double given, double base) {
    return given > 0 ? given : base * batch_scale(train, plan);
  };
  plan.lr = scaled(train.lr, train.base_lr);
  plan.min_lr = scaled(train.min_lr, train.base_min_lr);
  plan.warmup_lr = scaled(train.warmup_lr, train.base_warmup_lr);
  plan.checkpoint_every = train.checkpoint_every > 0
                              ? train.checkpoint_every
                              : std::max(plan.steps_per_epoch, share_of(plan.steps, kCheckpoints));
  plan.health_every = config.health.every > 0 ? config.health.every : share_of(plan.steps, kHealthChecks);
  plan.preview_every =
      config.health.preview_every > 0 ? config.health.preview_every : share_of(plan.steps, kPreviews);
  return plan;
}

std::vector<std::string> rules_used(const RunConfig& config, const Plan& plan) {
  std::vector<std::string> rules;
  rules.push_back(str(plan.records, " records, ", plan.steps_per_epoch, " steps an epoch, ", plan.steps,
                      " steps (", plan.epochs, " epochs) of effective batch ", plan.effective_batch));
  rules.push_back(config.train.lr > 0
                      ? str("learning rate ", plan.lr, " as given")
                      : str("learning rate = base_lr ", config.train.base_lr, " x effective batch ",
                            plan.effective_batch, " / ", config.train.lr_batch, " = ", plan.lr));
  if (plan.warmup_epochs != config.train.warmup_epochs)
    rules.push_back(str("warm-up ", plan.warmup_epochs, " epochs: a tenth of this run, as the method's ",
                        config.train.warmup_epochs,
                        " are made for longer ones (train.warmup_epochs sets it)"));
  return rules;
}

std::vector<std::string> warnings(const RunConfig& config, const Plan& plan) {
  std::vector<std::string> out;
  const double rule = config.train.base_lr * batch_scale(config.train, plan);
  // A loss over pairs within a batch sees no more of them when gradients are accumulated.
  const char* const raise =
      config.info().smallest_batch > 1 ? "raise train.batch_size" : "raise train.batch_size or train.accum";
  if (plan.effective_batch < static_cast<int64_t>(config.info().smallest_batch))
    out.push_back(str("effective batch ", plan.effective_batch, " is below the ",
                      config.info().smallest_batch, " this method's loss needs; ", raise));
  else if (plan.effective_batch < kSmallBatch)
    out.push_back(str("effective batch ", plan.effective_batch,
                      " is small: the learning rate rule was made for 256 to ", "4096; ", raise, " to ",
                      kSmallBatch, " or more"));
  if (!has_its_own_rate(config.info()) && config.train.lr > kHighRate * rule)
    out.push_back(str("learning rate ", config.train.lr, " is ", config.train.lr / rule, " times the rule's ",
                      rule, "; expect spikes, or lower train.lr"));
  if (plan.steps > 0 && plan.warmup_epochs >= plan.epochs)
    out.push_back(str("warm-up of ", plan.warmup_epochs, " epochs is the whole run of ", plan.epochs,
                      ": the peak learning rate is never reached; lower train.warmup_epochs"));
  const bool chosen = config.table.is_set("train.steps") || config.table.is_set("train.epochs");
  if (chosen && plan.steps > 0 && plan.steps < kFewSteps)
    out.push_back(
        str(plan.steps, " steps are few: expect blurred predictions; a masked model wants thousands"));
  return out;
}

}  // namespace lacuna::train
