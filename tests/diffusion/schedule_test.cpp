#include "lacuna/diffusion/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna::diffusion {
namespace {

Schedule of(const std::string& scheduler, int64_t steps = 50) {
  return make_schedule({.noise_steps = steps, .scheduler = scheduler});
}

void expect_values(const at::Tensor& tensor, const std::vector<std::pair<int64_t, double>>& wanted) {
  for (const auto& [index, value] : wanted)
    EXPECT_NEAR(tensor[index].item<double>(), value, 1e-6 + 1e-5 * value) << index;
}

// Figures of the formulas in double precision.
TEST(NoiseSchedule, FollowsItsFormula) {
  expect_values(of("cosine").beta, {{0, 0.001747514}, {24, 0.059353664}, {49, 0.999}});
  expect_values(of("cosine").alpha_hat, {{0, 0.998252486}, {24, 0.49384359}, {48, 0.000971193}});
  expect_values(of("sqrt").beta, {{0, 0.133105524}, {24, 0.046514656}, {49, 0.999}});
  expect_values(of("sqrt").alpha_hat, {{0, 0.866894476}, {24, 0.295780315}, {48, 0.01010101}});
  expect_values(of("sigmoid").beta, {{0, 0.002567788}, {24, 0.080790754}, {49, 0.999}});
  expect_values(of("sigmoid").alpha_hat, {{24, 0.5}, {48, 0.002567788}});
  expect_values(of("linear").beta, {{0, 0.002}, {24, 0.196938776}, {49, 0.4}});
  expect_values(of("linear").alpha_hat, {{49, 7.744766e-06}});
}

TEST(NoiseSchedule, NoisesEachRowAtItsOwnLevel) {
  const auto schedule = of("cosine");
  const auto x = torch::full({2, 3}, 2.0), noise = torch::full({2, 3}, -1.0);
  const auto noised = schedule.noised(x, torch::tensor({0, 24}), noise);
  for (const int64_t row : {0, 1}) {
    const double share = row == 0 ? 0.998252486 : 0.49384359;
    EXPECT_NEAR(noised[row][0].item<double>(), 2 * std::sqrt(share) - std::sqrt(1 - share), 1e-5);
    EXPECT_TRUE(noised[row].equal(schedule.noised(x, row == 0 ? 0 : 24, noise)[row]));
  }
}

TEST(Ddim, LevelsStartAtOneAndEndAtZero) {
  const auto levels = ddim_levels({.noise_steps = 10, .ddim_timesteps = 3});
  EXPECT_THAT(levels.at, ::testing::ElementsAre(1, 4, 7, 10));  // stride 3: one more than is used
  EXPECT_THAT(levels.previous, ::testing::ElementsAre(0, 1, 4, 7));
}

// Told the true noise, a step lands where the forward process puts the signal.
TEST(Ddim, StepUndoesTheNoise) {
  const auto schedule = of("cosine");
  const auto x = torch::tensor({1.0F, -3.0F}), noise = torch::tensor({0.5F, 2.0F});
  const auto share = [&](int64_t level) { return schedule.alpha_hat[level].item<double>(); };
  const auto got = ddim_step(schedule.noised(x, 40, noise), noise, share(40), share(7));
  EXPECT_TRUE(torch::allclose(got, schedule.noised(x, 7, noise), 1e-5, 1e-5));
}

TEST(Ddim, MoreStepsThanLevelsAreRefused) {
  EXPECT_THROW((DiffusionConfig{.noise_steps = 10, .ddim_timesteps = 10}.check()), Error);
  EXPECT_NO_THROW((DiffusionConfig{.noise_steps = 10, .ddim_timesteps = 9}.check()));
}

}  // namespace
}  // namespace lacuna::diffusion
