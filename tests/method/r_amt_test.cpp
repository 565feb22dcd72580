#include "lacuna/method/r_amt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/method/golden.h"
#include "lacuna/nn/activation_checkpoint.h"
#include "lacuna/train/config.h"
#include "tests/support/shared.h"

namespace lacuna {
namespace {

class RAmtGolden : public ::testing::TestWithParam<std::pair<const char*, size_t>> {};

TEST_P(RAmtGolden, EveryOutputAgrees) {
  const auto [name, outputs] = GetParam();
  const auto folder = std::string("goldens/r-amt/") + name;
  LACUNA_NEEDS_SHARED(folder);
  const auto result = verify_case(testing::shared_folder() / folder);
  EXPECT_TRUE(result.pass) << result.to_json().dump(2);
  EXPECT_EQ(result.outputs.size(), outputs);
}

INSTANTIATE_TEST_SUITE_P(Official, RAmtGolden,
                         ::testing::Values(std::pair{"step", 24U}, std::pair{"trajectory", 10U}),
                         [](const auto& tested) { return std::string(tested.param.first); });

TEST(WeightMasks, TheStepIsStrictAndItsGradientIsTheIdentitys) {
  const auto weight = torch::tensor({2.0, 3.0, 4.0});
  const auto score = torch::tensor({0.006, 0.005, 0.001}).requires_grad_();
  const auto masked = nn::masked_weight(weight, score, 0.005);
  EXPECT_TRUE(masked.equal(torch::tensor({2.0, 0.0, 0.0})));
  (masked * torch::tensor({1.0, 10.0, 100.0})).sum().backward();
  EXPECT_TRUE(score.grad().equal(torch::tensor({2.0, 30.0, 400.0})));
}

TEST(WeightMasks, BitsArePackedFromTheHighest) {
  const auto score = torch::tensor({1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0});
  const auto packed = nn::pack_bits(score, 0.5);
  EXPECT_TRUE(packed.equal(torch::tensor({129, 64}, torch::kByte)));
  EXPECT_TRUE(nn::unpack_bits(packed, 10).equal(score.to(torch::kFloat)));
}

TEST(RAmt, GradientsThatDisagreeAreDroppedByTheirShare) {
  const auto task = torch::tensor({1.0, 1.0, -2.0, 0.0, 1.0}),
             kl = torch::tensor({3.0, -3.0, 1.0, 1.0, -3.0}), u = torch::tensor({0.99, 0.3, 0.6, 0.4, 0.2});
  // P: agree 1; 1 / (1 + 3); 2 / 3; 0.5; 1 / 4.
  EXPECT_TRUE(torch::allclose(drop_gradient(task, kl, u, 1), torch::tensor({1.0, 0.0, -2.0, 0.0, 1.0})));
  EXPECT_TRUE(torch::allclose(drop_gradient(task, kl, u, 0.3), torch::tensor({1.0, 0.7, -2.0, 0.0, 1.0})));
}

RAmtConfig small() {
  RAmtConfig config;
  config.encoder.arch = "clip_vit";
  config.encoder.img_size = {16, 16}, config.encoder.patch_size = {8, 8};
  config.encoder.embed_dim = 16, config.encoder.depth = 2, config.encoder.num_heads = 2;
  config.dim = 8;
  config.head.num_classes = 5;
  return config;
}

std::shared_ptr<RAmt> make(const RAmtConfig& config) {
  SeededDraws draws(0);
  return std::make_shared<RAmt>(config, draws);
}

Batch some_pictures() {
  Batch batch;
  batch.image = SeededDraws(1).normal("picture", {4, 3, 16, 16});
  batch.label = torch::tensor({3, 4, 3, 4});
  batch.sample = {0, 1, 2, 3};
  return batch;
}

TEST(RAmt, LayersAndModulesAreChosen) {
  auto config = small();
  EXPECT_EQ(make(config)->masks().names().size(), 5U);
  config.mask.modules = {"mlp"};
  config.mask.layers = {1};
  EXPECT_THAT(make(config)->masks().names(),
              ::testing::ElementsAre("transformer.resblocks.1.mlp.c_fc.mask_real",
                                     "transformer.resblocks.1.mlp.c_proj.mask_real"));
  config.mask.layers = {2};
  ConfigTable table;
  table.add("", config);
  EXPECT_THROW(config.resolve(table), Error);
}

TEST(RAmt, TheTrainingGradientIsTheOneThatIsLeft) {
  auto config = small();
  config.head.classes = "new";
  config.loss.gdr_lambda = 0;
  const auto plain = make(config);
  config.loss.gdr_lambda = 1;
  const auto dropped = make(config);
  const auto batch = some_pictures();
  for (const auto& model : {plain, dropped}) {
    {
      const torch::NoGradGuard no_grad;  // masked alike: before that there is nothing to distil
      for (const auto& score : model->masks().scores()) score.view({-1}).slice(0, 0, 60).fill_(0);
    }
    SeededDraws draws(0, 0, batch.sample);
    model->forward(batch, draws).total.backward();
  }
  bool fewer = false;
  for (size_t k = 0; k < plain->masks().scores().size(); ++k) {
    const auto whole = plain->masks().scores()[k].grad(), left = dropped->masks().scores()[k].grad();
    const auto kept = left.ne(0);
    EXPECT_TRUE(torch::allclose(left.masked_select(kept), whole.masked_select(kept), 1e-4, 1e-7)) << k;
    fewer = fewer || kept.logical_not().any().item<bool>();
  }
  EXPECT_TRUE(fewer);
}

TEST(RAmt, BlocksComputedAgainAreMaskedAlike) {
  auto config = small();
  config.loss.gdr_lambda = 0;
  config.head.classes = "new";
  const auto kept = make(config), again = make(config);
  const auto batch = some_pictures();
  for (const auto& model : {kept, again}) {
    {
      const torch::NoGradGuard no_grad;
      for (const auto& score : model->masks().scores()) score.view({-1}).slice(0, 0, 30).fill_(0);
    }
    const nn::ActivationCheckpointing checkpointing(model == again);
    SeededDraws draws(0, 0, batch.sample);
    model->forward(batch, draws).total.backward();
  }
  for (size_t k = 0; k < kept->masks().scores().size(); ++k)
    EXPECT_TRUE(
        torch::allclose(kept->masks().scores()[k].grad(), again->masks().scores()[k].grad(), 1e-5, 1e-8))
        << kept->masks().names()[k];
}

TEST(RAmt, GradientDropoutRefusesActivationCheckpointing) {
  train::RunConfig config("r-amt");
  for (const char* setting : {"encoder.arch=clip_vit", "train.grad_checkpointing=true"})
    config.table.set_assignment(setting, "test");
  EXPECT_THROW(config.resolve(), Error);
  config.table.set_assignment("loss.gdr_lambda=0", "test");
  EXPECT_NO_THROW(config.resolve());
}

TEST(RAmt, LabelsOfOtherClassesAreLeftOut) {
  auto config = small();
  config.head.classes = "base";  // 0, 1 and 2 of five
  config.loss.gdr_lambda = 0;
  const auto model = make(config);
  auto mixed = some_pictures(), own = some_pictures();
  mixed.label = torch::tensor({0, 4, 2, -1});
  own.label = torch::tensor({0, 2});
  own.image = mixed.image.index_select(0, torch::tensor({0, 2}));
  own.sample = {0, 2};
  SeededDraws draws(0);
  EXPECT_NEAR(model->forward(mixed, draws).total.item<double>(),
              model->forward(own, draws).total.item<double>(), 1e-5);
}

TEST(RAmt, NothingIsMaskedAtTheStart) {
  const auto model = make(small());
  const torch::NoGradGuard no_grad;
  const auto image = some_pictures().image;
  EXPECT_EQ(model->masks().sparsity(), 0);
  EXPECT_TRUE(model->logits(image, model->text_features(), true)
                  .equal(model->logits(image, model->text_features(), false)));
}

TEST(RAmt, PackedBitsBecomeScores) {
  const auto model = make(small());
  {
    const torch::NoGradGuard no_grad;
    for (const auto& score : model->masks().scores()) score.view({-1}).slice(0, 0, 3).fill_(0);
  }
  const auto adapted = model->adapt(model->masks().packed(), {});
  for (size_t k = 0; k < model->masks().names().size(); ++k) {
    const auto& score = model->masks().scores()[k];
    EXPECT_TRUE(adapted.at(model->masks().names()[k]).equal(score.gt(0.005).to(torch::kFloat)));
  }
}

TEST(RAmt, ShuffledMasksHaveAsManyBits) {
  const auto model = make(small());
  const torch::NoGradGuard no_grad;
  const auto& score = model->masks().scores()[1];
  score.view({-1}).slice(0, 0, 40).fill_(0);
  const auto before = score.clone();
  model->shuffle_masks(1);
  EXPECT_EQ(score.eq(0).sum().item<int64_t>(), 40);
  EXPECT_FALSE(score.equal(before));
}

TEST(RAmt, HeadAndTowerTrainWhatTheySay) {
  auto config = small();
  for (const auto& [tune, trained] :
       {std::pair{"masks", "conv1.mask_real"}, {"head", "text_features"}, {"tower", "visual.proj"}}) {
    config.tune = tune;
    const auto model = make(config);
    for (const auto& item : model->named_parameters()) {
      const auto& name = item.key();
      const bool wanted = config.tune == "masks"  ? name.ends_with(".mask_real")
                          : config.tune == "head" ? name == "text_features"
                                                  : name.starts_with("visual.");
      EXPECT_EQ(item.value().requires_grad(), wanted) << tune << ' ' << name;
    }
    EXPECT_TRUE(model->named_parameters().contains(trained));
  }
}

TEST(RAmt, ABatchWithoutLabelsIsRefused) {
  const auto model = make(small());
  auto batch = some_pictures();
  batch.label.fill_(-1);
  SeededDraws draws(0);
  EXPECT_THROW(model->forward(batch, draws), Error);
}

}  // namespace
}  // namespace lacuna
