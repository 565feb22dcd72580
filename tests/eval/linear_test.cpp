#include "lacuna/eval/linear.h"

#include <gtest/gtest.h>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/method/golden.h"
#include "tests/support/features.h"
#include "tests/support/shared.h"

namespace lacuna::eval {
namespace {

using testing::clusters;
using testing::shuffled_labels;

EvalConfig quick() {
  EvalConfig config;
  config.epochs = 30;
  config.warmup_epochs = 3;
  config.linear_batch_size = 64;
  return config;
}

TEST(Linear, SeparatesWhatIsSeparable) {
  const auto result = linear_probe(clusters(8, 60, 32, 0.2, 1), clusters(8, 20, 32, 0.2, 2), quick());
  EXPECT_DOUBLE_EQ(result.metrics.at("top1").get<double>(), 1);
  EXPECT_DOUBLE_EQ(result.metrics.at("top5").get<double>(), 1);
  EXPECT_DOUBLE_EQ(result.metrics.at("chance").get<double>(), 0.125);
  for (const auto& rate : quick().base_lr) EXPECT_TRUE(result.metrics.contains(str("top1_lr", rate)));
}

TEST(Linear, ScoresChanceOnLabelsThatMeanNothing) {
  const auto result = linear_probe(shuffled_labels(clusters(4, 100, 16, 0.2, 1), 1),
                                   shuffled_labels(clusters(4, 250, 16, 0.2, 2), 2), quick());
  EXPECT_NEAR(result.metrics.at("top1").get<double>(), 0.25, 0.06);
  EXPECT_FALSE(result.metrics.contains("top5"));  // four classes
}

TEST(Linear, TheTestSetHasNoPartInTheChoiceOfTheRate) {
  const auto train = clusters(4, 50, 16, 1.5, 1), test = clusters(4, 50, 16, 1.5, 2);
  const auto honest = linear_probe(train, test, quick()),
             misled = linear_probe(train, shuffled_labels(test, 3), quick());
  EXPECT_EQ(honest.settings.at("base_lr_chosen"), misled.settings.at("base_lr_chosen"));
  EXPECT_EQ(honest.settings.at("held_out_top1_by_base_lr"), misled.settings.at("held_out_top1_by_base_lr"));
  EXPECT_EQ(honest.settings.at("train_size"), 180);  // nine tenths
  const double rate = honest.settings.at("base_lr_chosen").get<double>();
  EXPECT_EQ(honest.metrics.at("top1"), honest.metrics.at(str("top1_lr", rate)));
}

TEST(Linear, HeadsDoNotTouchEachOther) {
  const auto train = clusters(4, 50, 16, 1.5, 1), test = clusters(4, 50, 16, 1.5, 2);
  auto alone = quick();
  alone.base_lr = {0.3};
  EXPECT_EQ(linear_probe(train, test, alone).metrics.at("top1"),
            linear_probe(train, test, quick()).metrics.at("top1_lr0.3"));
}

TEST(Linear, RefusesWhatNoRateCanBeChosenOn) {
  const auto one_each = clusters(4, 1, 16, 1, 1);
  EXPECT_THROW(linear_probe(one_each, one_each, quick()), Error);
  auto none = quick();
  none.base_lr = {};
  EXPECT_THROW(linear_probe(clusters(4, 9, 16, 1, 1), one_each, none), Error);
}

TEST(Linear, GoldenCase) {
  LACUNA_NEEDS_SHARED("goldens/mae/linprobe");
  const auto result = verify_case(testing::shared_folder() / "goldens/mae/linprobe");
  EXPECT_TRUE(result.pass) << result.to_line();
  EXPECT_EQ(result.outputs.size(), 11u);
}

/// The same case with a learned batch norm and mean pooling: the kind's other options, against the formulas.
TEST(Linear, GoldenKindPoolsPatchesAndLearnsTheBatchNorm) {
  LACUNA_NEEDS_SHARED("goldens/mae/linprobe");
  auto golden = GoldenCase::read(testing::shared_folder() / "goldens/mae/linprobe");
  golden.config["encoder"]["global_pool"] = true;
  golden.config["head"]["bn_affine"] = true;
  golden.weights["fc_norm.weight"] = golden.weights.at("norm.weight") * 2;
  golden.weights["fc_norm.bias"] = golden.weights.at("norm.bias");
  golden.weights["head.0.weight"] = torch::full({48}, 0.5);
  golden.weights["head.0.bias"] = torch::full({48}, 0.25);
  const auto out = Registry<GoldenKind>::instance().get("*/linprobe").run(golden);
  const auto& x = out.at("features");
  const auto normalized = (x - x.mean(0)) / (x.var(0, false) + 1e-6).sqrt() * 0.5 + 0.25;
  const auto wanted =
      torch::linear(normalized, golden.weights.at("head.1.weight"), golden.weights.at("head.1.bias"));
  EXPECT_TRUE(torch::allclose(out.at("logits"), wanted, 1e-4, 1e-5));
  EXPECT_TRUE(out.count("stepped.head.0.weight"));
  EXPECT_FALSE(torch::allclose(x, golden.outputs.at("features"), 1e-2, 1e-2));
}

}  // namespace
}  // namespace lacuna::eval
