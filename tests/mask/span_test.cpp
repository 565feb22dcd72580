#include "lacuna/mask/span.h"

#include <gtest/gtest.h>

#include "lacuna/core/torch.h"

namespace lacuna::mask {
namespace {

TEST(SpanMask, SpansMergeAndEndWithTheirRow) {
  const SpanConfig config{.prob = 0.5, .length = 3};
  const auto length = torch::tensor({8, 5}, torch::kLong);
  const auto starts = torch::tensor({1, 2, 4, -1}, torch::kLong).view({2, 2});
  const auto nothing = torch::full({2, 1}, -1, torch::kLong);
  const auto hidden = span_mask(config, length, 8, {torch::zeros({2}), starts, nothing});
  EXPECT_TRUE(hidden[0].equal(torch::tensor({0, 1, 1, 1, 1, 0, 0, 0}, torch::kBool)));
  EXPECT_TRUE(hidden[1].equal(torch::tensor({0, 0, 0, 0, 1, 0, 0, 0}, torch::kBool)));
}

TEST(SpanMask, CountIsRoundedByItsDraw) {
  const SpanConfig config{.prob = 0.8, .length = 10};
  EXPECT_EQ(span_count(config, 100, 0.0), 8);
  EXPECT_EQ(span_count(config, 99, 0.07), 7);
  EXPECT_EQ(span_count(config, 99, 0.09), 8);
  EXPECT_EQ(span_count(config, 10, 0.0), 2) << "at least two";
}

TEST(SpanMask, RowsHideEquallyManyFramesAndNeverAll) {
  const SpanConfig config;
  const auto length = torch::tensor({100, 60, 12, 3}, torch::kLong);
  SeededDraws draws(3);
  const auto drawn = draw_spans(config, length, 100, draws);
  const auto hidden = span_mask(config, length, 100, drawn);
  const auto counts = hidden.sum(1);
  EXPECT_GT(counts[0].item<int64_t>(), 0);
  EXPECT_EQ(counts[0].item<int64_t>(), counts[1].item<int64_t>());
  for (int64_t b = 0; b < 4; ++b) {
    const int64_t valid = length[b].item<int64_t>();
    EXPECT_LT(counts[b].item<int64_t>(), valid);
    EXPECT_FALSE(hidden[b].slice(0, valid).any().item<bool>());
  }
}

TEST(SpanMask, HidesAboutHalfAtTheOfficialSettings) {
  SpanConfig config;
  config.require_same = false;
  const auto length = torch::full({64}, 500, torch::kLong);
  SeededDraws draws(1);
  const auto hidden = span_mask(config, length, 500, draw_spans(config, length, 500, draws));
  const double share = hidden.to(torch::kFloat).mean().item<double>();
  EXPECT_NEAR(share, 0.55, 0.04);  // 1 - exp(-0.8)
}

TEST(SpanMask, RowsDependOnTheirOwnSampleAlone) {
  SpanConfig config;
  config.require_same = false;
  const auto both = torch::tensor({80, 60}, torch::kLong), second = torch::tensor({60}, torch::kLong);
  SeededDraws draws(7, 0, {10, 11}), own(7, 0, {11});
  const auto hidden = span_mask(config, both, 80, draw_spans(config, both, 80, draws));
  const auto alone = span_mask(config, second, 60, draw_spans(config, second, 60, own));
  EXPECT_TRUE(hidden[1].slice(0, 0, 60).equal(alone[0]));
}

TEST(SpanMask, LengthsFollowTheirDistribution) {
  const auto length = torch::full({200}, 400, torch::kLong);
  const auto lengths = [&](const SpanConfig& config) {
    SeededDraws draws(4);
    const auto drawn = draw_spans(config, length, 400, draws);
    return drawn.lengths.masked_select(drawn.starts >= 0).to(torch::kDouble);
  };
  SpanConfig config{.prob = 0.5, .length = 10, .selection = "uniform", .other = 5, .require_same = false};
  auto drawn = lengths(config);
  EXPECT_EQ(drawn.min().item<double>(), 5);
  EXPECT_EQ(drawn.max().item<double>(), 20);
  EXPECT_NEAR(drawn.mean().item<double>(), 12.5, 0.2);
  config.selection = "normal", config.other = 2;
  drawn = lengths(config);
  EXPECT_NEAR(drawn.mean().item<double>(), 10, 0.1);
  EXPECT_NEAR(drawn.std().item<double>(), 2.02, 0.1);  // rounding adds 1 / 12 to the variance
  config.selection = "poisson";
  drawn = lengths(config);
  EXPECT_NEAR(drawn.mean().item<double>(), 10, 0.15);
  EXPECT_NEAR(drawn.var().item<double>(), 10, 0.7);
}

TEST(SpanMask, PoissonQuantilesAreScipys) {
  // scipy.stats.poisson.ppf, just above a step of the distribution function.
  EXPECT_EQ(poisson_quantile(3, 0.0), 0);
  EXPECT_EQ(poisson_quantile(3, 0.5), 3);
  EXPECT_EQ(poisson_quantile(3, 0.95), 6);
  EXPECT_EQ(poisson_quantile(10, 0.99), 18);
}

TEST(SpanMask, SpansWithoutOverlapKeepTheirDistance) {
  for (const int64_t space : {0, 1, 3}) {
    const SpanConfig config{
        .prob = 0.7, .length = 5, .no_overlap = true, .min_space = space, .require_same = false};
    const auto length = torch::full({50}, 120, torch::kLong);
    SeededDraws draws(2);
    const auto drawn = draw_spans(config, length, 120, draws);
    const auto hidden = span_mask(config, length, 120, drawn);
    for (int64_t b = 0; b < 50; ++b) {
      auto starts = std::get<0>(drawn.starts[b].masked_select(drawn.starts[b] >= 0).sort());
      EXPECT_EQ(hidden[b].sum().item<int64_t>(), 5 * starts.numel()) << "nothing twice";
      EXPECT_GE(starts.numel(), 8);
      EXPECT_GE((starts.slice(0, 1) - starts.slice(0, 0, -1)).min().item<int64_t>(), 5 + space);
    }
  }
}

TEST(SpanMask, NoMaskAndNoFrames) {
  SeededDraws draws(1);
  const SpanConfig off{.prob = 0};
  EXPECT_FALSE(drawn_mask(off, torch::tensor({20}, torch::kLong), 20, draws).any().item<bool>());
  for (const char* selection : {"static", "uniform", "normal", "poisson"})
    for (const bool no_overlap : {false, true}) {
      const SpanConfig config{.selection = selection, .other = 1, .no_overlap = no_overlap};
      const auto length = torch::tensor({1, 2, 11, 40}, torch::kLong);
      const auto hidden = drawn_mask(config, length, 40, draws);
      EXPECT_FALSE(hidden[0].any().item<bool>()) << selection;
      EXPECT_LT(hidden[2].sum().item<int64_t>(), 11) << selection;
    }
}

}  // namespace
}  // namespace lacuna::mask
