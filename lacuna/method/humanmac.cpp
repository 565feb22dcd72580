#include "lacuna/method/humanmac.h"

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna {

void HumanMACMaskConfig::fields(Fields& f) {
  f("t_his", t_his, "observed frames").range(1);
  f("t_pred", t_pred, "frames to predict").range(1);
  f("padding", padding,
    "what the network is told instead of the unknown frames: the last observed one, the "
    "observed ones again and again, or the last one made zero")
      .choices({"last-frame", "repeat", "zero"});
  f("mod_train", mod_train, "share of training samples whose history the network is told").range(0, 1);
  f("mod_test", mod_test, "share of predictions in which it is told the history").range(0, 1);
  f("complete", complete, "observed frames replace the generated ones at each step of sampling");
  f("switch_relax_below_step", switch_relax_below_step,
    "the motion to arrive at is not enforced in this many last steps of sampling")
      .range(0);
}

void HumanMACTargetConfig::fields(Fields& f) {
  f("n_pre", n_pre, "DCT coefficients that a motion is made of").range(1);
}

void HumanMACConfig::fields(Fields& f) {
  f.group("encoder", encoder);
  f.group("mask", mask);
  f.group("target", target);
  f.group("diffusion", diffusion);
}

void HumanMACConfig::resolve(const ConfigTable& /*table*/) {
  encoder.check();
  diffusion.check();
  if (target.n_pre > frames())
    fail(str("target.n_pre ", target.n_pre),
         str("a motion of ", frames(), " frames has no more coefficients"),
         str("use ", frames(), " at most"));
  if (mask.padding == "repeat" && frames() % mask.t_his != 0)
    fail("mask.padding repeat", str(frames(), " frames are no multiple of mask.t_his ", mask.t_his),
         "use last-frame, or other lengths");
}

std::vector<std::vector<int64_t>> motion_joint_groups() {
  return {{0, 1, 2},
          {3, 4, 5},
          {6, 7, 8, 9},
          {10, 11, 12},
          {13, 14, 15},
          {0, 1, 2, 3, 4, 5},
          {6, 7, 8, 9, 10, 11, 12, 13, 14, 15}};
}

MotionDiffuser::MotionDiffuser(const HumanMACConfig& config)
    : config_(config),
      dct_(config.frames(), config.target.n_pre),
      schedule_(diffusion::make_schedule(config.diffusion)),
      levels_(diffusion::ddim_levels(config.diffusion)),
      network_(std::make_shared<nn::MotionTransformer>(config.encoder, config.target.n_pre)) {
  nn::adopt(*this, *network_);
}

Tensor MotionDiffuser::padding_index() const {
  const int64_t his = config_.mask.t_his;
  const auto frame = torch::arange(config_.frames(), torch::kLong);
  return config_.mask.padding == "repeat" ? frame.remainder(his) : frame.clamp_max(his - 1);
}

Tensor MotionDiffuser::pad_history(Tensor& trajectory) const {
  if (config_.mask.padding == "zero") {
    trajectory = trajectory.clone();
    trajectory.select(1, config_.mask.t_his - 1).zero_();
  }
  return trajectory.index_select(1, padding_index().to(trajectory.device()));
}

Tensor MotionDiffuser::frames_mask(const Tensor& trajectory, int64_t first, int64_t last) const {
  auto mask = torch::zeros_like(trajectory);
  mask.slice(1, first, last).fill_(1);
  return mask;
}

MotionCompletion MotionDiffuser::prediction(const Tensor& trajectory) const {
  auto observed = trajectory;
  const auto history = pad_history(observed);
  return {.history = history, .known = history, .mask = frames_mask(history, 0, config_.mask.t_his)};
}

MotionCompletion MotionDiffuser::control(const Tensor& trajectory, const std::vector<int64_t>& joints,
                                         int64_t samples) const {
  auto out = prediction(trajectory.expand({samples, -1, -1}));
  out.known = trajectory.index_select(1, padding_index().to(trajectory.device()));
  for (const int64_t joint : joints) {
    const auto values = [&](const Tensor& of) { return of.slice(2, 3 * joint, 3 * joint + 3); };
    values(out.known).copy_(values(trajectory));
    values(out.mask).fill_(1);
  }
  return out;
}

MotionCompletion MotionDiffuser::transition(const Tensor& trajectory) const {
  const int64_t his = config_.mask.t_his, pred = config_.mask.t_pred, T = config_.frames();
  if (pred < his)
    fail(str("mask.t_pred ", pred),
         str("is less than mask.t_his ", his, ", the length of the end to arrive at"),
         "use a model that predicts further");
  auto out = prediction(trajectory);
  const auto goal = trajectory.slice(0, 0, 1);  // waits in the first frame of its end
  const auto frame = torch::arange(T, torch::kLong).clamp_min(pred - his);
  out.end = goal.index_select(1, frame.to(goal.device())).expand_as(trajectory);
  out.end_mask = frames_mask(trajectory, pred - his, T);
  return out;
}

Tensor MotionDiffuser::sample(const MotionCompletion& completion, bool told, Draws& draws,
                              const OnStep& on_step) const {
  const torch::NoGradGuard no_grad;
  const auto& history = completion.history;
  const int64_t n = history.size(0), D = history.size(2);
  nn::Condition condition;
  if (told) condition.coefficients = dct_.forward(history);
  auto x = draws.normal("x_T", {n, dct_.rows(), D}).to(history.device());
  const auto share = [&](int64_t level) { return schedule_.alpha_hat[level].item<double>(); };
  for (int64_t i = config_.diffusion.ddim_timesteps - 1; i >= 0; --i) {
    const auto index = static_cast<size_t>(i);
    const auto level = torch::full({n}, levels_.at[index], torch::kLong);
    const auto noise = network_->forward(x, level, condition, nullptr);
    x = diffusion::ddim_step(x, noise, share(levels_.at[index]), share(levels_.previous[index]));
    if (config_.mask.complete && completion.mask.defined()) x = complete(completion, x, i, draws);
    if (on_step) on_step(x);
  }
  return x;
}

Tensor MotionDiffuser::complete(const MotionCompletion& completion, const Tensor& x, int64_t index,
                                Draws& draws) const {
  const int64_t level = levels_.previous[static_cast<size_t>(index)];
  const int64_t step = config_.diffusion.ddim_timesteps - 1 - index;
  const auto noised = [&](const Tensor& motion, const char* name) {
    const auto clean = dct_.forward(motion);
    const auto noise = draws.normal(str(name, ".", step), clean.sizes()).to(clean.device());
    return dct_.backward(schedule_.noised(clean, level, noise));
  };
  auto motion = torch::where(completion.mask > 0, noised(completion.known, "eps"), dct_.backward(x));
  if (completion.end.defined() && index >= config_.mask.switch_relax_below_step)
    motion = torch::where(completion.end_mask > 0, noised(completion.end, "eps_end"), motion);
  return dct_.forward(motion);
}

Tensor without_root(const Tensor& motion) { return motion.slice(2, 1).flatten(2); }

Tensor with_root(const Tensor& trajectory) {
  const auto joints = trajectory.unflatten(-1, {trajectory.size(-1) / 3, 3});
  return torch::cat({torch::zeros_like(joints.slice(-2, 0, 1)), joints}, -2);
}

HumanMAC::HumanMAC(const HumanMACConfig& config, Draws& draws)
    : model_(std::make_shared<MotionDiffuser>(config)) {
  model_->initialize(draws);
  nn::adopt(*this, *model_);
}

Loss HumanMAC::forward(const Batch& batch, Draws& draws) {
  const auto& config = model_->config();
  const int64_t B = batch.motion.size(0);
  auto trajectory = without_root(batch.motion);  // [B, T, D]
  const auto history = model_->pad_history(trajectory);
  const auto y = model_->dct().forward(trajectory);  // [B, L, D]
  const auto told = draws.uniform("told", {B}).le(config.mask.mod_train).to(y.device());
  const auto u = draws.uniform("level", {B});
  const auto level = (1 + (u * (config.diffusion.noise_steps - 1)).to(torch::kLong))
                         .clamp_max(config.diffusion.noise_steps - 1);  // 1 .. S-1
  const auto noise = draws.normal("noise", y.sizes()).to(y.device());
  const auto seen = model_->network().forward(model_->schedule().noised(y, level, noise), level,
                                              {.coefficients = model_->dct().forward(history), .rows = told},
                                              is_training() ? &draws : nullptr);
  const auto total = torch::mse_loss(seen.to(torch::kFloat), noise);
  return {.total = total, .parts = {{"noise", total}}};
}

Tensor HumanMAC::features(const Batch& batch, const FeatureOptions& /*options*/) {
  const torch::NoGradGuard no_grad;
  auto trajectory = without_root(batch.motion);
  const auto y = model_->dct().forward(trajectory);
  const auto level = torch::ones({y.size(0)}, torch::kLong);
  const auto history = model_->dct().forward(model_->pad_history(trajectory));
  return model_->network().hidden(y, level, {.coefficients = history}, nullptr).mean(1).to(torch::kFloat);
}

Preview HumanMAC::preview(const Batch& batch, Draws& draws) {
  const torch::NoGradGuard no_grad;
  const bool was_training = is_training();
  eval();
  const auto trajectory = without_root(batch.motion);
  const auto futures = model_->dct().backward(model_->sample(model_->prediction(trajectory), true, draws));
  train(was_training);
  Preview out;
  out.motion = batch.motion.cpu();
  out.observed = model_->config().mask.t_his;
  out.futures = with_root(futures).unsqueeze(1).cpu();
  return out;
}

namespace {

// The official code has no weight decay; its Adam is AdamW without any.
const Register<MethodInfo> registered{
    "humanmac",
    {.title = "HumanMAC: Masked Motion Completion for Human Motion Prediction",
     .paper = "Chen, Zhang, Li, Pang, Xia, Liu, ICCV 2023, arXiv 2302.03665",
     .code = "github.com/LinghaoChan/HumanMAC, bca4748, MIT",
     .summary =
         "A diffusion transformer learns to take noise away from whole motions, given by their first DCT "
         "coefficients. Nothing is masked in training; futures, motions of single limbs and transitions "
         "come from masks at sampling alone.",
     .parts = {"representation: first DCT coefficients of joints relative to the root",
               "network: transformer that predicts the noise, told level and padded history",
               "masker: observed frames (and joints, and an end) replace generated ones at each DDIM step",
               "loss: mean squared error of the noise", "evaluation: forecast (APD, ADE, FDE, MMADE, MMFDE)"},
     .defaults = {"train.base_lr=3e-4", "train.lr=3e-4", "train.epochs=1001", "train.batch_size=64",
                  "train.weight_decay=0", "train.warmup_epochs=0", "train.schedule=multistep",
                  "train.milestones=[75,150,225,275,350,450]", "train.gamma=0.9", "train.ema_decay=0.995",
                  "train.ema_start=2000", "motion.epoch_samples=50000"},
     .make_config = [] { return std::make_unique<HumanMACConfig>(); },
     .make =
         [](const MethodConfig& config, Draws& draws) {
           return std::make_shared<HumanMAC>(dynamic_cast<const HumanMACConfig&>(config), draws);
         },
     .tiny = {"encoder.embed_dim=16", "encoder.depth=2", "encoder.num_heads=2", "encoder.mlp_dim=32",
              "mask.t_his=4", "mask.t_pred=8", "target.n_pre=6", "diffusion.noise_steps=20",
              "diffusion.ddim_timesteps=5"},
     .modality = "motion"}};

}  // namespace
}  // namespace lacuna
