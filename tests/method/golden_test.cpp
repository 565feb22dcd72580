#include "lacuna/method/golden.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
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

struct OfficialCase {
  const char* folder;
  size_t outputs;
};

class Golden : public ::testing::TestWithParam<OfficialCase> {};

TEST_P(Golden, EveryOutputAgrees) {
  const std::string folder = std::string("goldens/") + GetParam().folder;
  LACUNA_NEEDS_SHARED(folder);
  const auto result = verify_case(testing::shared_folder() / folder);
  EXPECT_TRUE(result.pass) << result.to_json().dump(2);
  EXPECT_EQ(result.outputs.size(), GetParam().outputs);
}

INSTANTIATE_TEST_SUITE_P(Official, Golden,
                         ::testing::Values(OfficialCase{"mae/pretrain", 17}, OfficialCase{"mae/finetune", 90},
                                           OfficialCase{"simmim/pretrain-swin", 12},
                                           OfficialCase{"simmim/pretrain-vit", 14},
                                           OfficialCase{"simmim/transfer", 244},
                                           OfficialCase{"hpm/pretrain", 23}, OfficialCase{"hpm/pieces", 18}),
                         [](const auto& tested) {
                           std::string name = tested.param.folder;
                           std::replace_if(
                               name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
                           return name;
                         });

}  // namespace
}  // namespace lacuna
