// Figures in this file were made with jiwer 4.0 (edit distances) and scikit-learn 1.9 (ridge, mutual
// information, contingency matrices) on the same numbers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/eval/frames.h"
#include "lacuna/eval/transcribe.h"
#include "lacuna/train/targets.h"

namespace lacuna::eval {
namespace {

using ::testing::ElementsAre;

/// 0 .. k-1, the same in any language.
TokenList numbers(int64_t count, int64_t seed, int64_t k) {
  TokenList out;
  for (int64_t i = 0, x = seed; i < count; ++i) {
    x = (x * 1103515245 + 12345) % (int64_t{1} << 31);
    out.push_back((x >> 16) % k);
  }
  return out;
}

TEST(EditDistance, EqualsJiwers) {
  const auto edits = edit_distance({1, 2, 3, 4}, {1, 9, 3});
  EXPECT_EQ(edits.substitutions, 1);
  EXPECT_EQ(edits.deletions, 1);
  EXPECT_EQ(edits.insertions, 0);
  EXPECT_DOUBLE_EQ(edits.rate(), 0.5);
  EXPECT_EQ(edit_distance({0, 1, 2, 3, 4, 5}, {1, 2, 9, 4, 5, 6, 7}).distance(), 4);
  Edits all;
  for (int64_t i = 0; i < 20; ++i)
    all += edit_distance(numbers(5 + i, i + 1, 4), numbers(3 + (7 * i) % 17, 100 + i, 4));
  EXPECT_EQ(all.distance(), 202);
  EXPECT_EQ(all.reference, 290);
  EXPECT_NEAR(all.rate(), 0.696551724137931, 1e-12);
}

TEST(EditDistance, NothingSaidOrHeard) {
  EXPECT_DOUBLE_EQ(edit_distance({}, {}).rate(), 0);
  EXPECT_DOUBLE_EQ(edit_distance({}, {1}).rate(), 1);
  EXPECT_EQ(edit_distance({1, 2}, {}).deletions, 2);
}

TEST(Ctc, GreedyMergesRepeatsAndDropsBlanks) {
  const auto best = torch::tensor({0, 1, 1, 0, 1, 2, 2, 0}, torch::kLong);
  const auto scores = torch::one_hot(best, 3).to(torch::kFloat);
  EXPECT_THAT(greedy_ctc(scores), ElementsAre(0, 0, 1));
  EXPECT_TRUE(greedy_ctc(torch::zeros({0, 3})).empty());
}

TEST(Ctc, BeamFindsTheMostProbableListOverAllAlignments) {
  constexpr int64_t T = 5, C = 3;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const auto scores = torch::log_softmax(SeededDraws(seed).normal("scores", {T, C}) * 2, 1);
    std::map<TokenList, double> sums;
    for (int64_t path = 0; path < static_cast<int64_t>(std::pow(C, T)); ++path) {
      double log_probability = 0;
      TokenList list;
      int64_t rest = path, last = 0;
      for (int64_t t = 0; t < T; ++t, rest /= C) {
        const int64_t now = rest % C;
        log_probability += scores[t][now].item<double>();
        if (now != 0 && now != last) list.push_back(now - 1);
        last = now;
      }
      sums[list] += std::exp(log_probability);
    }
    const auto best = std::max_element(sums.begin(), sums.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    EXPECT_EQ(beam_ctc(scores, 1000), best->first) << seed;
  }
}

TEST(Moments, RidgeEqualsScikitLearns) {
  const auto matrix = [](int64_t count, int64_t seed, int64_t width) {
    return torch::tensor(numbers(count * width, seed, 100)).to(torch::kDouble).view({count, width}) / 50 - 1;
  };
  const auto x = matrix(60, 7, 3);
  auto y = matrix(60, 9, 2);
  y.select(1, 0) += 2 * x.select(1, 1);
  Moments fit, test;
  fit.add(x.slice(0, 0, 15), y.slice(0, 0, 15));
  fit.add(x.slice(0, 15, 40), y.slice(0, 15, 40));
  test.add(x.slice(0, 40), y.slice(0, 40));
  const auto plain = fit.ridge(0), held = fit.ridge(5);
  EXPECT_NEAR(plain.weight[1][0].item<double>(), 1.89594752, 1e-7);
  EXPECT_NEAR(plain.offset[0].item<double>(), 0.07227855, 1e-7);
  EXPECT_NEAR(test.error(plain), 16.362183077913766, 1e-9);
  EXPECT_NEAR(held.weight[0][1].item<double>(), 0.16767932, 1e-7);
  EXPECT_NEAR(test.error(held), 20.175674811839, 1e-9);
  EXPECT_NEAR(test.spread(), 43.53831999999999, 1e-9);
}

TEST(LabelQuality, EqualsScikitLearns) {
  const auto clusters = numbers(200, 3, 7);
  auto classes = numbers(200, 4, 5);
  for (size_t i = 0; i < 120; ++i) classes[i] = clusters[i] % 5;
  const auto found = train::label_quality(torch::tensor(clusters), torch::tensor(classes));
  EXPECT_NEAR(found.class_purity, 0.685, 1e-12);
  EXPECT_NEAR(found.cluster_purity, 0.52, 1e-12);
  EXPECT_NEAR(found.pnmi, 0.38975487718422175, 1e-12);
  EXPECT_EQ(found.clusters_used, 7);
}

/// Layer 1 tells the class, layers 0 and 2 are noise.
PooledLayers layered(int64_t count, uint64_t seed) {
  PooledLayers out;
  out.layers = {0, 1, 2};
  out.labels = torch::arange(count).remainder(4);
  out.features = SeededDraws(seed).normal("features", {count, 3, 8});
  out.features.select(1, 1) += 4 * torch::one_hot(out.labels, 8);
  return out;
}

TEST(WeightedLayers, FindTheLayerThatKnows) {
  EvalConfig config;
  config.probe.epochs = 30;
  config.probe.width = 16;
  const auto result = weighted_layers(layered(200, 1), layered(80, 2), config);
  EXPECT_GT(result.metrics["top1"].get<double>(), 0.95);
  EXPECT_GT(result.metrics["weight_1"].get<double>(), 0.6);
  EXPECT_NEAR(result.metrics["chance"].get<double>(), 0.25, 1e-9);
  const auto again = weighted_layers(layered(200, 1), layered(80, 2), config);
  EXPECT_EQ(result.metrics, again.metrics);
  // Without the projection the same head is a plain linear one.
  config.probe.width = 0;
  EXPECT_GT(weighted_layers(layered(200, 1), layered(80, 2), config).metrics["top1"].get<double>(), 0.95);
}

TEST(ProbeLayers, AreNamedWhenTheyAreNotThere) {
  ProbeConfig config;
  EXPECT_THAT(chosen_layers(config, 3), ElementsAre(0, 1, 2));
  config.layers = {5};
  EXPECT_THROW(chosen_layers(config, 3), Error);
}

}  // namespace
}  // namespace lacuna::eval
