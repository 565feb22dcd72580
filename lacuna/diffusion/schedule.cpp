#include "lacuna/diffusion/schedule.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

#include "lacuna/core/error.h"

namespace lacuna::diffusion {

namespace {

constexpr double kCosineOffset = 0.008, kSqrtOffset = 1e-4;
constexpr double kSigmoidStart = -3, kSigmoidEnd = 3, kSigmoidTemperature = 0.7;
constexpr double kMostBeta = 0.999;
constexpr double kStepsOfLinear = 1000;  // that beta_start and beta_end are meant for

/// The share of signal at u in [0, 1], up to a factor.
at::Tensor signal_share(const std::string& scheduler, const at::Tensor& u) {
  if (scheduler == "cosine")
    return ((u + kCosineOffset) / (1 + kCosineOffset) * (std::numbers::pi / 2)).cos().square();
  if (scheduler == "sqrt") return 1 - (u + kSqrtOffset).sqrt();
  const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  const double start = sigmoid(kSigmoidStart / kSigmoidTemperature);
  const double end = sigmoid(kSigmoidEnd / kSigmoidTemperature);
  const auto x = (u * (kSigmoidEnd - kSigmoidStart) + kSigmoidStart) / kSigmoidTemperature;
  return (end - x.sigmoid()) / (end - start);
}

at::Tensor betas(const DiffusionConfig& config) {
  const int64_t steps = config.noise_steps;
  if (config.scheduler == "linear") {
    const double scale = kStepsOfLinear / static_cast<double>(steps);
    return at::linspace(scale * config.beta_start, scale * config.beta_end, steps, at::kFloat);
  }
  const auto u = at::arange(steps + 1, at::kFloat) / static_cast<double>(steps);
  const auto share = signal_share(config.scheduler, u);
  return (1 - share.slice(0, 1) / share.slice(0, 0, steps)).clamp(0, kMostBeta);
}

}  // namespace

void DiffusionConfig::fields(Fields& f) {
  f("noise_steps", noise_steps, "levels of noise").range(2, 1e6);
  f("ddim_timesteps", ddim_timesteps, "steps of sampling (DDIM)").range(1);
  f("scheduler", scheduler, "how the signal fades from level to level")
      .choices({"cosine", "sqrt", "sigmoid", "linear"});
  f("beta_start", beta_start, "linear: noise added at the first of 1000 levels").range(0, 1);
  f("beta_end", beta_end, "linear: noise added at the last of them").range(0, 1);
}

void DiffusionConfig::check() const {
  if (ddim_timesteps >= noise_steps)
    fail(str("diffusion.ddim_timesteps ", ddim_timesteps),
         str("must be less than diffusion.noise_steps ", noise_steps),
         str("use ", noise_steps - 1, " at most"));
}

at::Tensor Schedule::noised(const at::Tensor& x, const at::Tensor& level, const at::Tensor& noise) const {
  std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
  shape[0] = level.size(0);
  const auto share = alpha_hat.to(x.device()).index_select(0, level.to(x.device())).view(shape);
  return share.sqrt() * x + (1 - share).sqrt() * noise;
}

at::Tensor Schedule::noised(const at::Tensor& x, int64_t level, const at::Tensor& noise) const {
  const auto share = alpha_hat.select(0, level);
  return share.sqrt().to(x.device()) * x + (1 - share).sqrt().to(x.device()) * noise;
}

Schedule make_schedule(const DiffusionConfig& config) {
  const auto beta = betas(config);
  return {beta, (1 - beta).cumprod(0)};
}

DdimLevels ddim_levels(const DiffusionConfig& config) {
  DdimLevels out;
  const int64_t stride = config.noise_steps / config.ddim_timesteps;
  for (int64_t level = 0; level < config.noise_steps; level += stride) {
    out.previous.push_back(out.at.empty() ? 0 : out.at.back());
    out.at.push_back(level + 1);
  }
  return out;
}

at::Tensor ddim_step(const at::Tensor& x, const at::Tensor& noise, double alpha, double alpha_previous) {
  const auto clean = (x - std::sqrt(1 - alpha) * noise) / std::sqrt(alpha);
  return std::sqrt(alpha_previous) * clean + std::sqrt(1 - alpha_previous) * noise;
}

}  // namespace lacuna::diffusion
