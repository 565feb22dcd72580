#include "lacuna/core/draws.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lacuna/core/error.h"

namespace lacuna {
namespace {

using Block = std::array<uint32_t, 4>;

// kat_vectors of Random123, philox4x32 with 10 rounds.
TEST(Philox, KnownAnswers) {
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(SeededDraws, UniformIsUniform) {
  const auto draw = SeededDraws(1).uniform("u", {100, 10000});
  EXPECT_GE(draw.min().item<float>(), 0.0F);
  EXPECT_LT(draw.max().item<float>(), 1.0F);
  // A million draws: five standard errors of the mean (2.9e-4) and of the variance (7.5e-5).
  EXPECT_NEAR(draw.to(at::kDouble).mean().item<double>(), 0.5, 1.5e-3);
  EXPECT_NEAR(draw.to(at::kDouble).var().item<double>(), 1.0 / 12, 4e-4);
  const auto histogram = at::histc(draw, 10, 0, 1);
  EXPECT_LT((histogram - 1e5).abs().max().item<float>(), 5 * 300);
}

TEST(SeededDraws, NormalHasUnitMoments) {
  const auto draw = SeededDraws(2).normal("n", {100, 10000}).to(at::kDouble);
  EXPECT_NEAR(draw.mean().item<double>(), 0.0, 5e-3);
  EXPECT_NEAR(draw.var().item<double>(), 1.0, 7.5e-3);
  EXPECT_NEAR(draw.pow(4).mean().item<double>(), 3.0, 5e-2);
}

TEST(SeededDraws, RowsDependOnTheSampleAlone) {
  const auto whole = SeededDraws(3, 7, {10, 11, 12, 13}).uniform("noise", {4, 5});
  const auto first = SeededDraws(3, 7, {10}).uniform("noise", {1, 5});
  const auto rest = SeededDraws(3, 7, {13, 11, 12}).uniform("noise", {3, 5});
  EXPECT_TRUE(at::equal(whole[0], first[0]));
  EXPECT_TRUE(at::equal(whole[3], rest[0]));
  EXPECT_TRUE(at::equal(whole[1], rest[1]));
  const auto orders = SeededDraws(3, 7, {10, 11}).permutation("p", 2, 20);
  EXPECT_TRUE(at::equal(orders[1], SeededDraws(3, 7, {11}).permutation("p", 1, 20)[0]));
}

TEST(SeededDraws, SeedStepNameAndSampleAllMatter) {
  const auto draw = [](uint64_t seed, uint64_t step, const char* name, int64_t sample) {
    return SeededDraws(seed, step, {sample}).uniform(name, {1, 8});
  };
  const auto base = draw(1, 1, "a", 1);
  EXPECT_TRUE(at::equal(base, draw(1, 1, "a", 1)));
  for (const auto& other : {draw(2, 1, "a", 1), draw(1, 2, "a", 1), draw(1, 1, "b", 1), draw(1, 1, "a", 2)})
    EXPECT_FALSE(at::equal(base, other));
}

TEST(SeededDraws, PermutationHoldsEveryIndexOnce) {
  const auto orders = SeededDraws(4).permutation("p", 50, 37);
  EXPECT_TRUE(at::equal(std::get<0>(orders.sort(1)), at::arange(37).expand({50, 37})));
}

TEST(Stream, BelowIsUnbiased) {
  Stream random(5, "below");
  std::array<int, 3> counts{};
  for (int i = 0; i < 30000; ++i) ++counts[static_cast<size_t>(random.below(3))];
  for (const int count : counts) EXPECT_NEAR(count, 10000, 5 * 82);
}

TEST(RecordedDraws, AnswersByNameAndRefusesOthers) {
  RecordedDraws draws({{"noise", at::arange(6).to(at::kFloat).view({2, 3})}});
  EXPECT_EQ(draws.uniform("noise", {2, 3})[1][2].item<float>(), 5.0F);
  EXPECT_THROW(draws.uniform("noise", {3, 2}), Error);
  EXPECT_THROW(draws.normal("other", {2, 3}), Error);
}

}  // namespace
}  // namespace lacuna
