#include "lacuna/method/meap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lacuna/core/error.h"
#include "lacuna/core/mersenne.h"
#include "lacuna/core/torch.h"
#include "lacuna/method/golden.h"
#include "lacuna/method/llama_names.h"
#include "lacuna/train/advice.h"
#include "lacuna/train/optim.h"
#include "lacuna/train/schedule.h"
#include "lacuna/train/step.h"
#include "tests/support/shared.h"

namespace lacuna {
namespace {

using ::testing::ElementsAre;

class MeapGolden : public ::testing::TestWithParam<std::pair<const char*, size_t>> {};

TEST_P(MeapGolden, EveryOutputAgrees) {
  const auto [name, outputs] = GetParam();
  const auto folder = std::string("goldens/") + name;
  LACUNA_NEEDS_SHARED(folder);
  const auto result = verify_case(testing::shared_folder() / folder);
  EXPECT_TRUE(result.pass) << result.to_json().dump(2);
  EXPECT_EQ(result.outputs.size(), outputs);
}

INSTANTIATE_TEST_SUITE_P(Official, MeapGolden,
                         ::testing::Values(std::pair{"meap/pretrain-step", 11U},
                                           std::pair{"meap/sft-step", 12U}, std::pair{"meap/schedule", 2U},
                                           std::pair{"meap/tokenizer", 4U}, std::pair{"clip/tokenizer", 5U}),
                         [](const auto& tested) {
                           std::string name = tested.param.first;
                           std::replace_if(
                               name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
                           return name;
                         });

TEST(PythonRandom, DrawsAsCPythonDoes) {  // python3 -c "import random; random.seed(50); ..."
  PythonRandom random(0);
  EXPECT_EQ(random.bits(), 3626764237U);  // getrandbits(32)
  PythonRandom pool(50), set(50);
  EXPECT_THAT(pool.sample(10, 3), ElementsAre(7, 4, 5));
  EXPECT_EQ(set.sample(4095, 614).size(), 614u);
  PythonRandom large((uint64_t{1} << 40) + 5);
  EXPECT_EQ(large.bits(), 2166296868U);
}

std::shared_ptr<Meap> tiny(const std::function<void(MeapConfig&)>& change = [](MeapConfig&) {}) {
  MeapConfig config;
  config.encoder = {.vocab_size = 48,
                    .context = 24,
                    .embed_dim = 16,
                    .depth = 2,
                    .num_heads = 4,
                    .num_kv_heads = 2,
                    .mlp_dim = 24};
  config.mask.token_id = 47;
  change(config);
  SeededDraws draws(1);
  return std::make_shared<Meap>(config, draws);
}

Batch texts(int64_t B, int64_t U) {
  Batch batch;
  batch.tokens = (SeededDraws(3).uniform("tokens", {B, U}) * 40).to(torch::kLong);
  for (int64_t b = 0; b < B; ++b) batch.sample.push_back(b);
  return batch;
}

TEST(Meap, TargetsAreNeverMasked) {
  const auto model = tiny();
  auto batch = texts(3, 25);
  SeededDraws draws(0, 0, batch.sample);
  const auto hidden = model->hidden(3, 24, draws);
  const auto seen = model->masked(batch.tokens.slice(1, 0, 24), hidden);
  EXPECT_EQ(seen.eq(47).sum().item<int64_t>(), 3 * 3);  // int(24 * 0.15) of each
  EXPECT_FALSE(hidden.select(1, 23).any().item<bool>());
  const auto by_hand = model->next_token(seen, batch.tokens.slice(1, 1));
  EXPECT_EQ(by_hand.count, 72);
  EXPECT_EQ(model->forward(batch, draws).total.item<float>(), by_hand.loss.item<float>());
}

TEST(Meap, SharedPositionsChangeWithTheStepAndComeAgain) {
  const auto model = tiny();
  SeededDraws draws(0);
  const auto at = [&](int64_t step) {
    model->before_step({.step = step});
    return model->hidden(2, 24, draws).clone();
  };
  EXPECT_TRUE(at(0)[0].equal(at(0)[1]));
  EXPECT_FALSE(at(0).equal(at(1)));
  EXPECT_TRUE(at(0).equal(at(51)));
  EXPECT_FALSE(at(0).equal(at(50)));
}

TEST(Meap, OwnPositionsBelongToTheText) {
  const auto model =
      tiny([](MeapConfig& config) { config.mask.shared_over_batch = false, config.mask.ratio = 0.3; });
  SeededDraws whole(0, 5, {0, 1, 2, 3}), half(0, 5, {2, 3});
  const auto all = model->hidden(4, 24, whole), part = model->hidden(2, 24, half);
  EXPECT_TRUE(all.slice(0, 2).equal(part));
  EXPECT_TRUE(all.sum(1).eq(7).all().item<bool>());
  EXPECT_FALSE(all.select(1, 23).any().item<bool>());
  EXPECT_FALSE(all[0].equal(all[1]));
}

TEST(Meap, NoShareIsPlainNextTokenPrediction) {
  const auto model = tiny([](MeapConfig& config) { config.mask.ratio = 0; });
  auto batch = texts(2, 25);
  SeededDraws draws(0, 0, batch.sample);
  EXPECT_FALSE(model->hidden(2, 24, draws).any().item<bool>());
}

TEST(Meap, WhatLiesBehindATextIsNotLearnt) {
  const auto model = tiny([](MeapConfig& config) { config.mask.ratio = 0; });
  auto batch = texts(2, 25);
  batch.tokens[1].slice(0, 10).fill_(-1);
  SeededDraws draws(0, 0, batch.sample);
  const auto loss = model->forward(batch, draws);
  EXPECT_EQ(loss.weight, 24 + 9);
  const auto alone = [&](int64_t row, int64_t size) {
    const auto text = batch.tokens.slice(0, row, row + 1).slice(1, 0, size);
    return model->next_token(text.slice(1, 0, size - 1), text.slice(1, 1)).loss.item<double>();
  };
  EXPECT_NEAR(loss.total.item<double>(), (24 * alone(0, 25) + 9 * alone(1, 10)) / 33, 1e-5);
}

TEST(Meap, TrainsAStepAndEveryParameterGetsAGradient) {
  const auto model = tiny();
  const auto optimizer = train::make_adamw(train::parameter_groups(*model, 0.05), 0.9, 0.95);
  train::TrainConfig config;
  train::StepState state(config);
  double first = 0, last = 0;
  for (int i = 0; i < 30; ++i) {
    const auto result =
        train::take_step(*model, *optimizer, {texts(4, 25)}, train::scaled_rate(3e-3), config, state);
    EXPECT_EQ(result.problem, "");
    (i == 0 ? first : last) = result.loss;
  }
  EXPECT_LT(last, 0.9 * first);
  for (const auto& item : model->named_parameters())
    EXPECT_GT(item.value().grad().abs().max().item<double>(), 0) << item.key();
  for (const auto& group : train::parameter_groups(*model, 0.05)) EXPECT_EQ(group.weight_decay, 0.05);
}

TEST(Meap, FeaturesIgnoreWhatLiesBehindAText) {
  const auto model = tiny();
  auto batch = texts(2, 20), longer = batch;
  longer.tokens = torch::cat({batch.tokens, torch::full({2, 4}, -1, torch::kLong)}, 1);
  EXPECT_TRUE(model->features(batch, {}).allclose(model->features(longer, {}), 1e-5, 1e-6));
}

TEST(Meap, PreviewShowsWhatWasHidden) {
  const auto model = tiny();
  auto batch = texts(2, 25);
  SeededDraws draws(0, 0, batch.sample);
  const auto preview = model->preview(batch, draws);
  EXPECT_EQ(preview.hidden_tokens.sum().item<int64_t>(), 6);
  EXPECT_TRUE(preview.tokens.equal(batch.tokens));
  EXPECT_EQ(preview.predicted_tokens.sizes(), batch.tokens.sizes());
  EXPECT_TRUE(preview.predicted_tokens.select(1, 0).eq(-1).all().item<bool>());
  EXPECT_TRUE(preview.explained.has_value());
}

TEST(Meap, RatesFollowTheMicroIterations) {
  train::TrainConfig config;
  config.schedule = "micro_cosine", config.accum = 4;
  train::Plan plan{
      .steps_per_epoch = 10, .steps = 50, .epochs = 5, .warmup_epochs = 0.5, .lr = 4e-4, .min_lr = 4e-5};
  EXPECT_NEAR(train::learning_rate(config, plan, 0), 4e-4 * 3 / 20, 1e-12);
  EXPECT_NEAR(train::learning_rate(config, plan, 4), 4e-4 * 19 / 20, 1e-12);
  EXPECT_NEAR(train::learning_rate(config, plan, 49), 4e-5, 1e-7);
}

TEST(LlamaNames, LitGptThereAndBack) {
  MeapConfig config;
  config.encoder = {.vocab_size = 20,
                    .context = 8,
                    .embed_dim = 256,
                    .depth = 2,
                    .num_heads = 4,
                    .num_kv_heads = 2,
                    .mlp_dim = 24};
  config.mask.token_id = 19;
  SeededDraws draws(1);
  const Meap model(config, draws);
  const auto ours = model.weights();
  auto lit = to_lit_gpt(ours, 64);
  EXPECT_EQ(lit.at("transformer.h.1.attn.attn.weight").sizes(),
            (std::vector<int64_t>{(4 + 2 * 2) * 64, 256}));
  // The first group's two queries stand before its key.
  EXPECT_TRUE(lit.at("transformer.h.0.attn.attn.weight")
                  .slice(0, 128, 192)
                  .equal(ours.at("model.layers.0.self_attn.k_proj.weight").slice(0, 0, 64)));
  ASSERT_TRUE(llama_weight_names().to_official(lit));
  ASSERT_EQ(lit.size(), ours.size());
  for (const auto& [name, tensor] : ours) EXPECT_TRUE(lit.at(name).equal(tensor)) << name;
  const auto told = llama_weight_names().infer(lit);
  EXPECT_EQ(told["encoder"]["num_heads"], 4);
  EXPECT_EQ(told["encoder"]["num_kv_heads"], 2);
  EXPECT_EQ(told["encoder"]["mlp_dim"], 24);
}

}  // namespace
}  // namespace lacuna
