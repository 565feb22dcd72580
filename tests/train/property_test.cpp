// What every registered method of pictures must do, whatever the picture's shape and channels. A new method
// inherits all of it.

#include <gtest/gtest.h>

#include "lacuna/core/torch.h"
#include "lacuna/train/checkpoint.h"
#include "lacuna/train/optim.h"
#include "lacuna/train/picture.h"
#include "lacuna/train/step.h"
#include "tests/support/tiny.h"

namespace lacuna::train {
namespace {

struct Case {
  std::string method, shape;
  Size2 image, patch;
  int64_t channels;
};

std::ostream& operator<<(std::ostream& out, const Case& tested) {
  return out << tested.method << ' ' << tested.image;
}

std::vector<Case> all_cases() {
  const std::vector<std::tuple<std::string, Size2, Size2>> shapes = {
      {"square", {32, 32}, {8, 8}},
      {"wide", {16, 64}, {8, 8}},
      {"tall", {64, 16}, {8, 8}},
      {"two_by_eight", {32, 128}, {16, 16}},  // a square number of patches on a grid that is no square
  };
  std::vector<Case> out;
  for (const auto& method : Registry<MethodInfo>::instance().names()) {
    if (Registry<MethodInfo>::instance().get(method).modality != "image") continue;
    for (const auto& [shape, image, patch] : shapes)
      for (const int64_t channels : {1, 3, 5}) out.push_back({method, shape, image, patch, channels});
  }
  return out;
}

class EveryMethod : public ::testing::TestWithParam<Case> {
 protected:
  EveryMethod()
      : config_(
            testing::tiny_config(GetParam().method, GetParam().image, GetParam().patch, GetParam().channels)),
        method_(config_->make_method()),
        optimizer_(make_adamw(parameter_groups(*method_, 0.05), 0.9, 0.95)) {}

  StepResult step(int64_t first_sample) {
    auto batch = testing::random_batch(*method_, 4, static_cast<uint64_t>(first_sample));
    for (auto& sample : batch.sample) sample += first_sample;
    const auto result = take_step(*method_, *optimizer_, {batch}, scaled_rate(1e-3), config_->train, state_);
    method_->after_step({});
    return result;
  }

  std::unique_ptr<RunConfig> config_;
  std::shared_ptr<Method> method_;
  std::unique_ptr<Optimizer> optimizer_;
  StepState state_{config_->train};
};

TEST_P(EveryMethod, CheckpointedBlocksGiveTheSameGradients) {
  const auto batch = testing::random_batch(*method_, 4, 3);
  const auto gradients = [&](const std::string& precision, bool checkpointing) {
    method_->zero_grad();
    config_->train.precision = precision;
    config_->train.grad_checkpointing = checkpointing;
    SeededDraws draws(0, 0, batch.sample);
    Tensor total;
    {
      const ForwardMode mode(config_->train, torch::kCPU);
      total = method_->forward(batch, draws).total;
    }
    total.backward();
    std::map<std::string, Tensor> out;
    for (const auto& item : method_->named_parameters())
      if (item.value().grad().defined()) out[item.key()] = item.value().grad().clone();
    return out;
  };
  for (const std::string precision : {"fp32", "bf16"}) {
    const auto plain = gradients(precision, false), again = gradients(precision, true);
    ASSERT_EQ(plain.size(), again.size());
    for (const auto& [name, gradient] : plain) {
      const double most = gradient.abs().max().item<double>();  // sums over branches come in another order
      EXPECT_LE((again.at(name) - gradient).abs().max().item<double>(), 2e-6 * most)
          << precision << " " << name;
    }
  }
}

TEST_P(EveryMethod, TrainsAStepAndEveryParameterGetsAGradient) {
  const auto result = step(0);
  EXPECT_EQ(result.problem, "");
  EXPECT_GT(result.loss, 0);
  for (const auto& item : method_->named_parameters()) {
    if (!item.value().requires_grad()) continue;
    ASSERT_TRUE(item.value().grad().defined()) << item.key();
    EXPECT_GT(item.value().grad().abs().max().item<double>(), 0) << item.key();
  }
}

TEST_P(EveryMethod, LearnsOneBatchByHeart) {
  const double first = step(0).loss;
  double last = first;
  for (int i = 0; i < 40; ++i) last = step(0).loss;
  EXPECT_LT(last, first);
}

TEST_P(EveryMethod, ResumesExactly) {
  step(0);
  const auto weights = method_->weights();
  io::Tensors saved_weights, saved_ema, saved_state;
  for (const auto& [name, tensor] : weights) saved_weights[name] = tensor.detach().clone();
  if (auto* ema = method_->ema())
    for (const auto& [name, tensor] : ema->average()) saved_ema[name] = tensor.clone();
  for (const auto& [name, tensor] : optimizer_->state()) saved_state[name] = tensor.clone();
  const double unbroken = (step(4), step(8).loss);

  const auto other = config_->make_method();
  load_weights(*other, saved_weights, "test");
  if (auto* ema = other->ema()) nn::load_weights(ema->average(), saved_ema, "test");
  optimizer_ = make_adamw(parameter_groups(*other, 0.05), 0.9, 0.95);
  optimizer_->load_state(saved_state, "test");
  method_ = other;
  EXPECT_EQ((step(4), step(8).loss), unbroken);
}

TEST_P(EveryMethod, FeaturesAreEqualOnTwoCallsAndNeverMasked) {
  method_->eval();
  const auto batch = testing::random_batch(*method_, 3);
  const auto features = method_->features(batch, {});
  EXPECT_EQ(features.size(0), 3);
  EXPECT_TRUE(features.equal(method_->features(batch, {})));
  // Every patch is read: changing any one changes the features.
  const auto [image, patch] = std::pair(GetParam().image, GetParam().patch);
  for (int64_t top = 0; top < image.h; top += patch.h)
    for (int64_t left = 0; left < image.w; left += patch.w) {
      auto changed = batch;
      changed.image = batch.image.clone();
      changed.image.slice(2, top, top + patch.h).slice(3, left, left + patch.w).add_(1);
      EXPECT_GT((method_->features(changed, {}) - features).abs().max().item<double>(), 0)
          << top << ", " << left;
    }
}

TEST_P(EveryMethod, PatchTokensAverageToTheFeatures) {
  if (GetParam().method == "supervised") GTEST_SKIP() << "a classifier gives no tokens";
  method_->eval();
  const auto batch = testing::random_batch(*method_, 2);
  const auto average = method_->features(batch, {.pool = "avg"});
  auto tokens = method_->tokens(batch);
  ASSERT_EQ(tokens.dim(), 3);
  const auto patches = GetParam().image.area() / GetParam().patch.area();
  tokens = tokens.slice(1, tokens.size(1) % patches);  // a class token goes first
  EXPECT_LT((tokens.mean(1) - average).abs().max().item<double>(), 1e-5);
}

TEST_P(EveryMethod, PreviewExistsAndFits) {
  method_->eval();
  const auto batch = testing::random_batch(*method_, 2);
  SeededDraws draws(1);
  const auto preview = method_->preview(batch, draws);
  const auto [image, patch, channels] = std::tuple(GetParam().image, GetParam().patch, GetParam().channels);
  EXPECT_EQ(preview.image.sizes(), (std::vector<int64_t>{2, channels, image.h, image.w}));
  if (preview.predicted.defined()) {
    EXPECT_EQ(preview.hidden.sizes(), (std::vector<int64_t>{2, image.h / patch.h, image.w / patch.w}));
    EXPECT_TRUE(preview.hidden.any().item<bool>());
    EXPECT_FALSE(preview.hidden.all().item<bool>());
  }
  const std::vector<double> zeros(channels, 0.5), ones(channels, 0.2);
  const auto panel = preview_panel(preview, {zeros, ones});
  EXPECT_EQ(panel.size(2), 3);
  EXPECT_GT(panel.to(torch::kFloat).std().item<double>(), 1);
}

TEST_P(EveryMethod, HalvesOfABatchSeeTheMasksOfTheWhole) {
  method_->eval();
  auto whole = testing::random_batch(*method_, 4), half = whole;
  half.image = whole.image.slice(0, 2);
  half.sample = {2, 3};
  SeededDraws draws(5, 0, whole.sample), half_draws(5, 0, half.sample);
  const auto all = method_->preview(whole, draws).hidden;
  EXPECT_TRUE(all.slice(0, 2).equal(method_->preview(half, half_draws).hidden));
}

INSTANTIATE_TEST_SUITE_P(Registry, EveryMethod, ::testing::ValuesIn(all_cases()), [](const auto& test) {
  std::string name =
      test.param.method + "_" + test.param.shape + "_" + std::to_string(test.param.channels) + "ch";
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace lacuna::train
