#include "lacuna/nn/llama.h"

#include <gtest/gtest.h>

#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna::nn {
namespace {

LlamaConfig small() {
  LlamaConfig config;
  config.vocab_size = 40, config.context = 16, config.embed_dim = 16, config.depth = 2, config.num_heads = 4;
  config.num_kv_heads = 2, config.mlp_dim = 24;
  return config;
}

std::shared_ptr<Llama> make(const LlamaConfig& config) {
  auto model = std::make_shared<Llama>(config);
  SeededDraws draws(0);
  model->initialize(draws);
  return model;
}

Tensor some_ids(int64_t B, int64_t T) { return torch::arange(B * T).mul(7).remainder(40).view({B, T}); }

TEST(Llama, NoTokenSeesALaterOne) {
  const auto model = make(small());
  auto ids = some_ids(2, 12);
  const auto before = model->hidden(ids);
  ids.slice(1, 8).fill_(3);
  const auto after = model->hidden(ids);
  EXPECT_TRUE(after.slice(1, 0, 8).allclose(before.slice(1, 0, 8), 1e-5, 1e-6));
  EXPECT_GT((after - before).slice(1, 8).abs().max().item<double>(), 1e-3);
}

TEST(Llama, WhatIsKeptGivesTheSameAsReadingAgain) {
  const auto model = make(small());
  const torch::NoGradGuard no_grad;
  const auto ids = some_ids(2, 12), whole = model->hidden(ids);
  LlamaCache cache;
  std::vector<Tensor> parts;
  for (const auto& [begin, end] : {std::pair{0, 5}, {5, 6}, {6, 10}, {10, 12}})
    parts.push_back(model->hidden(ids.slice(1, begin, end), &cache));
  EXPECT_EQ(cache.length(), 12);
  EXPECT_TRUE(torch::cat(parts, 1).allclose(whole, 1e-4, 1e-5));
}

TEST(Llama, AttentionsAreThoseOfTheForwardPass) {
  const auto model = make(small());
  const auto seen = model->attentions(some_ids(1, 6));
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].sizes(), (std::vector<int64_t>{1, 4, 6, 6}));
  EXPECT_TRUE(seen[1].sum(-1).allclose(torch::ones({1, 4, 6})));
  EXPECT_EQ(seen[0].triu(1).abs().sum().item<double>(), 0);
}

TEST(Llama, FirstValuesHaveTheOfficialSpread) {
  auto config = small();
  config.embed_dim = 64, config.mlp_dim = 160;
  const auto model = make(config);
  const auto parameters = model->named_parameters();
  EXPECT_NEAR(parameters["model.layers.0.self_attn.q_proj.weight"].std().item<double>(),
              std::sqrt(2.0 / (5 * 64)), 3e-3);
  EXPECT_NEAR(parameters["model.layers.1.mlp.down_proj.weight"].std().item<double>(), 1.0 / (8 * 2), 3e-3);
  EXPECT_EQ(parameters["model.norm.weight"].sum().item<double>(), 64);
}

TEST(Llama, TiedEmbeddingsHaveNoHead) {
  auto config = small();
  config.tie_embeddings = true;
  const auto model = make(config);
  EXPECT_FALSE(model->named_parameters().contains("lm_head.weight"));
  EXPECT_EQ(model->logits(model->hidden(some_ids(1, 3))).size(2), 40);
}

TEST(Llama, ImpossibleSizesAreRefused) {
  ConfigTable table;
  auto config = small();
  config.num_kv_heads = 3;
  EXPECT_THROW(config.resolve(table, "encoder"), Error);
  config = small();
  config.num_heads = 5;
  EXPECT_THROW(config.resolve(table, "encoder"), Error);
  config = small();
  config.arch = "meap_0.3b";
  config.resolve(table, "encoder");
  EXPECT_EQ(config.mlp_dim, 2736);
}

}  // namespace
}  // namespace lacuna::nn
