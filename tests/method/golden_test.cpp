#include "lacuna/method/golden.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>

#include "lacuna/core/error.h"
#include "tests/support/shared.h"

namespace lacuna {
namespace {

TEST(CompareOutput, ToleranceIsElementwise) {
  const auto wanted = torch::tensor({1.0, 100.0});
  EXPECT_TRUE(compare_output("x", torch::tensor({1.0 + 1e-5, 100.0 + 9e-3}), wanted, 1e-4, 1e-5).pass);
  EXPECT_FALSE(compare_output("x", torch::tensor({1.0 + 1e-3, 100.0}), wanted, 1e-4, 1e-5).pass);
  EXPECT_FALSE(compare_output("x", torch::tensor({std::nan(""), 100.0}), wanted, 1e-4, 1e-5).pass);
}

TEST(CompareOutput, SmallGradientsAreCompared) {
  const auto wanted = torch::tensor({1e-6, -1e-6}), got = torch::tensor({2e-6, -1e-6});
  EXPECT_TRUE(compare_output("x", got, wanted, 1e-4, 1e-5).pass);
  EXPECT_FALSE(compare_output("grad.x", got, wanted, 1e-4, 1e-5).pass);
}

TEST(CompareOutput, ShapesMustAgree) {
  const auto check = compare_output("x", torch::zeros({2, 3}), torch::zeros({3, 2}), 1, 1);
  EXPECT_FALSE(check.pass);
  EXPECT_THAT(check.problem, ::testing::HasSubstr("[2, 3] for [3, 2]"));
}

TEST(RenameKeys, MovesAndDrops) {
  const Json config = {{"loss", {{"norm_pix_loss", true}, {"old", 1}}}};
  EXPECT_EQ(rename_keys(config, {{"loss.norm_pix_loss", "loss.norm_pix"}, {"loss.old", ""}}),
            Json({{"loss", {{"norm_pix", true}}}}));
}

TEST(Golden, MaePretrain) {
  LACUNA_NEEDS_SHARED("goldens/mae/pretrain");
  const auto result = verify_case(testing::shared_folder() / "goldens/mae/pretrain");
  EXPECT_TRUE(result.pass) << result.to_json().dump(2);
  EXPECT_EQ(result.outputs.size(), 17U);
}

}  // namespace
}  // namespace lacuna
