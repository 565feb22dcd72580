#include "lacuna/method/humanmac.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/method/golden.h"
#include "tests/support/shared.h"

namespace lacuna {
namespace {

class HumanMACGolden : public ::testing::TestWithParam<std::pair<const char*, size_t>> {};

TEST_P(HumanMACGolden, EveryOutputAgrees) {
  const auto [name, outputs] = GetParam();
  const auto folder = std::string("goldens/humanmac/") + name;
  LACUNA_NEEDS_SHARED(folder);
  const auto result = verify_case(testing::shared_folder() / folder);
  EXPECT_TRUE(result.pass) << result.to_json().dump(2);
  EXPECT_EQ(result.outputs.size(), outputs);
}

INSTANTIATE_TEST_SUITE_P(Official, HumanMACGolden,
                         ::testing::Values(std::pair{"train", 25U}, std::pair{"sample", 22U},
                                           std::pair{"metrics", 11U}),
                         [](const auto& tested) { return std::string(tested.param.first); });

HumanMACConfig small() {
  HumanMACConfig config;
  config.encoder = {.joints = 4, .embed_dim = 16, .depth = 2, .num_heads = 2, .mlp_dim = 16, .dropout = 0.2};
  config.mask.t_his = 4, config.mask.t_pred = 8;
  config.target.n_pre = 6;
  config.diffusion.noise_steps = 40, config.diffusion.ddim_timesteps = 10;
  return config;
}

std::shared_ptr<MotionDiffuser> make(const HumanMACConfig& config) {
  auto model = std::make_shared<MotionDiffuser>(config);
  SeededDraws draws(0);
  model->initialize(draws);
  return model;
}

/// Slow enough for the coefficients that are kept.
Tensor slow_motion(const MotionDiffuser& model, int64_t samples) {
  const int64_t D = 3 * model.config().encoder.joints;
  auto coefficients = torch::zeros({samples, model.dct().rows(), D});
  SeededDraws draws(1);
  coefficients.slice(1, 0, 3).copy_(draws.normal("motion", {samples, 3, D}));
  return model.dct().backward(coefficients);
}

TEST(HumanMAC, PaddingsFillTheFuture) {
  auto config = small();
  config.mask.t_his = 2, config.mask.t_pred = 4;
  const auto index = [&](const std::string& padding) {
    config.mask.padding = padding;
    const auto found = MotionDiffuser(config).padding_index();
    return std::vector<int64_t>(found.data_ptr<int64_t>(), found.data_ptr<int64_t>() + found.numel());
  };
  EXPECT_THAT(index("last-frame"), ::testing::ElementsAre(0, 1, 1, 1, 1, 1));
  EXPECT_THAT(index("repeat"), ::testing::ElementsAre(0, 1, 0, 1, 0, 1));
  EXPECT_THAT(index("zero"), ::testing::ElementsAre(0, 1, 1, 1, 1, 1));
  config.target.n_pre = 3;
  auto trajectory = torch::ones({1, 6, 12});
  const auto padded = MotionDiffuser(config).pad_history(trajectory);
  EXPECT_EQ(padded.sum().item<double>(), 12.0);
  EXPECT_EQ(trajectory[0][1].abs().sum().item<double>(), 0.0);
}

TEST(HumanMAC, TheUntrainedNetworkSeesNoNoise) {
  const auto model = make(small());
  const auto seen =
      model->network().forward(torch::rand({3, 6, 12}), torch::tensor({1, 20, 39}), {}, nullptr);
  EXPECT_EQ(seen.abs().max().item<double>(), 0.0);
}

TEST(HumanMAC, UntoldRowsAreAsWithoutACondition) {
  const auto model = make(small());
  const torch::NoGradGuard no_grad;
  for (const auto& item : model->named_parameters())  // what starts at zero would hide any difference
    if (item.key().ends_with("out.weight") || item.key().ends_with("out_layers.2.weight"))
      item.value().copy_(torch::eye(item.value().size(0), item.value().size(1)));
  const auto x = torch::rand({2, 6, 12}), told = torch::rand({2, 6, 12});
  const auto level = torch::tensor({5, 5});
  const auto none = model->network().forward(x, level, {}, nullptr);
  const auto all = model->network().forward(x, level, {.coefficients = told}, nullptr);
  const auto second = model->network().forward(
      x, level, {.coefficients = told, .rows = torch::tensor({false, true})}, nullptr);
  EXPECT_TRUE(torch::allclose(second[0], none[0], 0, 1e-6));
  EXPECT_TRUE(torch::allclose(second[1], all[1], 0, 1e-6));
  EXPECT_GT((all - none).abs().max().item<double>(), 1e-3);
}

// With every joint kept, what comes out is the motion at level 0, whatever the network says.
TEST(HumanMAC, CompletionKeepsWhatItIsToldTo) {
  const auto model = make(small());
  const auto motion = slow_motion(*model, 1);
  SeededDraws draws(2), same(2);
  const auto got = model->sample(model->control(motion, {0, 1, 2, 3}, 2), true, draws);
  const auto noise = same.normal("eps.9", {1, 6, 12});  // of the tenth step
  const auto wanted = model->schedule().noised(model->dct().forward(motion), 0, noise);
  EXPECT_TRUE(torch::allclose(got, wanted.expand_as(got), 1e-4, 1e-4));
}

// The untrained network sees no noise: without completion each step only scales.
TEST(HumanMAC, WithoutCompletionNothingIsKept) {
  auto config = small();
  config.mask.complete = false;
  const auto model = make(config);
  SeededDraws draws(2), same(2);
  const auto got = model->sample(model->prediction(slow_motion(*model, 1)), true, draws);
  const auto share = [&](int64_t level) { return model->schedule().alpha_hat[level].item<double>(); };
  const auto wanted = same.normal("x_T", {1, 6, 12}) * std::sqrt(share(0) / share(37));
  EXPECT_TRUE(torch::allclose(got, wanted, 1e-4, 1e-4));
}

TEST(HumanMAC, ControlTakesItsJointsFromTheMotion) {
  const auto model = make(small());
  const auto motion = slow_motion(*model, 1);
  const auto completion = model->control(motion, {1, 3}, 2);
  EXPECT_EQ(completion.known.size(0), 1);  // noised alike for both
  EXPECT_TRUE(completion.known.slice(2, 3, 6).equal(motion.slice(2, 3, 6)));
  EXPECT_TRUE(completion.known.slice(2, 0, 3).select(1, 11).equal(motion.slice(2, 0, 3).select(1, 3)));
  EXPECT_EQ(completion.mask.sum().item<double>(), 2 * (12 * 6 + 4 * 6));
}

TEST(HumanMAC, ControlOfSeveralMotionsIsThatOfEach) {
  const auto model = make(small());
  const auto motions = slow_motion(*model, 3);
  const auto together = model->control(motions, {2}, 3);
  for (int64_t n = 0; n < 3; ++n) {
    const auto alone = model->control(motions.slice(0, n, n + 1), {2}, 1);
    EXPECT_TRUE(together.history[n].equal(alone.history[0]));
    EXPECT_TRUE(together.known[n].equal(alone.known[0]));
    EXPECT_TRUE(together.mask[n].equal(alone.mask[0]));
  }
}

TEST(HumanMAC, TransitionsArriveAtTheFirstRowsEnd) {
  const auto model = make(small());
  const auto motion = slow_motion(*model, 2);
  const auto completion = model->transition(motion);
  EXPECT_TRUE(completion.end[1].slice(0, 4).equal(motion[0].slice(0, 4)));
  EXPECT_TRUE(completion.end[1][0].equal(motion[0][4]));
  EXPECT_EQ(completion.end_mask.sum().item<double>(), 2 * 8 * 12);
  auto config = small();
  config.mask.t_pred = 3;
  EXPECT_THROW(make(config)->transition(torch::zeros({1, 7, 12})), Error);
}

TEST(HumanMAC, ImpossibleSettingsAreRefused) {
  const auto refused = [](auto change) {
    auto config = small();
    change(config);
    EXPECT_THROW(config.resolve(ConfigTable()), Error);
  };
  refused([](HumanMACConfig& c) { c.encoder.depth = 3; });
  refused([](HumanMACConfig& c) { c.encoder.num_heads = 3; });
  refused([](HumanMACConfig& c) { c.target.n_pre = 13; });
  refused([](HumanMACConfig& c) { c.mask.padding = "repeat", c.mask.t_his = 5; });
  refused([](HumanMACConfig& c) { c.diffusion.ddim_timesteps = 40; });
  EXPECT_NO_THROW(small().resolve(ConfigTable()));
}

}  // namespace
}  // namespace lacuna
