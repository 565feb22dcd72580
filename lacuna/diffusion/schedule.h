#pragma once
// Noise schedules and the deterministic sampler of diffusion models, shared by every method that denoises.
// S: noise steps. Level t in 0 .. S-1; level 0 is already a little noised.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "lacuna/core/config.h"

namespace lacuna::diffusion {

/// Keys `diffusion.*`.
struct DiffusionConfig {
  int64_t noise_steps = 1000;
  int64_t ddim_timesteps = 100;
  std::string scheduler = "cosine";  ///< cosine | sqrt | sigmoid | linear
  double beta_start = 1e-4, beta_end = 0.02;
  void fields(Fields& f);
  /// Error when the sampler would need a level that the schedule does not have.
  void check() const;
};

/// How much of the signal is left at each level.
struct Schedule {
  at::Tensor beta;       ///< [S] float32: share of the variance that one step replaces by noise
  at::Tensor alpha_hat;  ///< [S] float32: prod (1 - beta): share of the variance that is still signal

  /// sqrt(a_t) x + sqrt(1 - a_t) noise (Ho et al., "Denoising diffusion probabilistic models", 2020, eq. 4).
  /// x, noise [B, ...]; level [B] int64, or one level for all rows.
  at::Tensor noised(const at::Tensor& x, const at::Tensor& level, const at::Tensor& noise) const;
  at::Tensor noised(const at::Tensor& x, int64_t level, const at::Tensor& noise) const;
};

/// With g the signal's share as a function of u = k / S, k = 0 .. S, and beta_k = 1 - g_{k+1} / g_k cut to
/// [0, 0.999]:
///   cosine:  cos^2((u + s) / (1 + s) pi / 2), s = 0.008 (Nichol & Dhariwal, 2021)
///   sqrt:    1 - sqrt(u + 1e-4) (Li et al., "Diffusion-LM", 2022)
///   sigmoid: from -3 to 3 at temperature 0.7 (Jabri et al., 2023)
///   linear:  beta itself, from beta_start to beta_end, which are meant for 1000 steps (Ho et al., 2020)
Schedule make_schedule(const DiffusionConfig& config);

/// The levels that DDIM visits, rising: `at[i]` is denoised to `previous[i]`; sampling goes from the last of
/// the first `ddim_timesteps` down to 0.
struct DdimLevels {
  std::vector<int64_t> at, previous;
};
/// Every (S / ddim_timesteps)-th level, shifted by one: all that fit below S, which are more than
/// ddim_timesteps where that does not divide S.
DdimLevels ddim_levels(const DiffusionConfig& config);

/// One step of DDIM with eta 0 (Song et al., "Denoising diffusion implicit models", 2021, eq. 12): x at
/// signal share `alpha`, with its predicted noise, at share `alpha_previous`.
at::Tensor ddim_step(const at::Tensor& x, const at::Tensor& noise, double alpha, double alpha_previous);

}  // namespace lacuna::diffusion
