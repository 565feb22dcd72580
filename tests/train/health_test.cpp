#include "lacuna/train/health.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "lacuna/core/draws.h"
#include "lacuna/core/torch.h"

namespace lacuna::train {
namespace {

using testing::HasSubstr;

Tensor axis(int64_t n, int64_t dim, int64_t dims) {
  std::vector<int64_t> shape(dims, 1);
  shape[dim] = n;
  return at::arange(n, at::kDouble).view(shape);
}

/// Two pictures of two channels, 8x12 in patches of 4x4, and a prediction that is near.
Preview waves(bool per_patch_units) {
  const Tensor b = axis(2, 0, 4), c = axis(2, 1, 4), y = axis(8, 2, 4), x = axis(12, 3, 4);
  const Tensor image = (0.5 * (c + 1) * x + 0.3 * y + b).sin();
  Preview preview;
  preview.image = image.to(at::kFloat);
  preview.predicted = (0.8 * image + 0.1 * (x + y).cos()).to(at::kFloat);
  preview.hidden = at::tensor({1, 0, 1, 1, 1, 0, 0, 1, 1, 1, 0, 1}).view({2, 2, 3}).to(at::kBool);
  preview.per_patch_units = per_patch_units;
  return preview;
}

Tensor hidden_pixels(const Preview& preview, int64_t patch) {
  return preview.hidden.unsqueeze(1).repeat_interleave(patch, 2).repeat_interleave(patch, 3);
}

// Figures below named "NumPy" come from an independent float64 program that loops over pixels and neighbours.
TEST(BlurredGuess, EqualsNumPy) {
  const Preview preview = waves(false);
  const Tensor guess = blurred_guess(preview.image, hidden_pixels(preview, 4), {4, 4});
  EXPECT_NEAR((guess[0][0][0][0].item<double>()), 0.35603036, 1e-5);
  EXPECT_NEAR((guess[0][1][7][2].item<double>()), -0.42320549, 1e-5);
  EXPECT_NEAR((guess[1][1][2][11].item<double>()), 0.26700363, 1e-5);
}

TEST(BlurredGuess, KeepsVisiblePixelsAndConstants) {
  const Preview preview = waves(false);
  const Tensor hidden = hidden_pixels(preview, 4);
  const Tensor guess = blurred_guess(preview.image, hidden, {4, 4});
  EXPECT_TRUE(at::equal(guess.masked_select(~hidden), preview.image.masked_select(~hidden)));
  const Tensor flat = at::full({1, 1, 8, 12}, 0.7);
  EXPECT_TRUE(at::allclose(blurred_guess(flat, hidden.slice(0, 0, 1), {4, 4}), flat));
}

TEST(BlurredGuess, FallsBackToTheVisibleMeanFarFromAnythingVisible) {
  // One visible patch of 2x2 at the left end of a strip of 2x64.
  Tensor image = at::zeros({1, 1, 2, 64});
  image.slice(3, 0, 1).fill_(1);
  const Tensor hidden = (at::arange(64) >= 2).view({1, 1, 1, 64}).expand({1, 1, 2, 64});
  const Tensor guess = blurred_guess(image, hidden, {2, 2});
  EXPECT_LT((guess[0][0][0][2].item<double>()), 0.45);  // the nearer pixel is 0
  EXPECT_NEAR((guess[0][0][0][60].item<double>()), 0.5, 1e-6);
  const Tensor all_hidden = blurred_guess(image, at::ones({1, 1, 2, 64}, at::kBool), {2, 2});
  EXPECT_EQ(all_hidden.abs().max().item<double>(), 0);
}

TEST(ReconstructionSkill, EqualsNumPy) {
  const Skill plain = reconstruction_skill(waves(false));
  EXPECT_NEAR(plain.over_mean, 0.95590070, 1e-5);
  EXPECT_NEAR(plain.over_blur, 0.95790107, 1e-5);
  const Skill by_patch = reconstruction_skill(waves(true));
  EXPECT_NEAR(by_patch.over_mean, 0.92449593, 1e-5);
  EXPECT_NEAR(by_patch.over_blur, 0.93730421, 1e-5);
}

TEST(ReconstructionSkill, IsOneForTheTruthAndZeroForTheGuessItself) {
  for (const bool units : {false, true}) {
    Preview preview = waves(units);
    preview.predicted = preview.image;
    EXPECT_EQ(reconstruction_skill(preview).over_mean, 1);
    EXPECT_EQ(reconstruction_skill(preview).over_blur, 1);
  }
  Preview preview = waves(false);
  preview.predicted = blurred_guess(preview.image, hidden_pixels(preview, 4), {4, 4});
  EXPECT_NEAR(reconstruction_skill(preview).over_blur, 0, 1e-6);
  preview = waves(true);
  const Tensor mean = at::avg_pool2d(preview.image, 4).mean(1, true);
  preview.predicted =
      mean.repeat_interleave(4, 2).repeat_interleave(4, 3).expand(preview.image.sizes()).contiguous();
  EXPECT_NEAR(reconstruction_skill(preview).over_mean, 0, 1e-6);
}

TEST(ReconstructionSkill, LooksOnlyAtWhatWasHidden) {
  Preview preview = waves(false);
  const double before = reconstruction_skill(preview).over_mean;
  preview.predicted = at::where(hidden_pixels(preview, 4), preview.predicted, at::full({}, 100.f));
  EXPECT_DOUBLE_EQ(reconstruction_skill(preview).over_mean, before);
}

TEST(ReconstructionSkill, OfAConstantPictureIsZero) {
  Preview preview = waves(false);
  preview.image = at::full_like(preview.image, 0.5);
  EXPECT_EQ(reconstruction_skill(preview).over_mean, 0);
}

Tensor wavy_features(int64_t n, int64_t dims) {
  const Tensor i = axis(n, 0, 2), j = axis(dims, 1, 2);
  return (0.7 * i * (j + 1)).sin() + 0.1 * i * (j == 0) + 1;
}

TEST(FeatureSpread, EqualsNumPy) {
  const Tensor features = wavy_features(20, 6);
  const Spread spread = feature_spread(features.to(at::kFloat));
  EXPECT_NEAR(spread.effective_rank, 4.69403822, 1e-5);
  EXPECT_NEAR(spread.deviation, 0.48396636, 1e-6);
  EXPECT_NEAR(feature_spread(features.t()).effective_rank, 4.21310416, 1e-5);
}

TEST(FeatureSpread, KnowsTheExtremes) {
  // +-e_i in 8 dimensions: all directions equally strong.
  const Tensor even = at::cat({at::eye(8), -at::eye(8)});
  EXPECT_NEAR(feature_spread(even).effective_rank, 8, 1e-6);
  EXPECT_NEAR(feature_spread(even).deviation, 1, 1e-6);
  const Tensor line = at::arange(16, at::kFloat).view({16, 1}) * at::ones({1, 8});
  EXPECT_NEAR(feature_spread(line).effective_rank, 1, 1e-3);
  const Spread constant = feature_spread(at::full({16, 8}, 0.1234567));
  EXPECT_EQ(constant.effective_rank, 0);
  EXPECT_NEAR(constant.deviation, 0, 1e-6);
  EXPECT_EQ(feature_spread(at::ones({1, 8})).effective_rank, 0);
}

Tensor knn_features(int64_t n, double phase) {
  const Tensor i = axis(n, 0, 2), j = axis(5, 1, 2);
  return (1.3 * i * (j + 1) + phase * (j + 1)).sin().to(at::kFloat);
}

Tensor knn_labels() { return (at::arange(40) * 7).remainder(11).remainder(4); }

TEST(Knn, EqualsBruteForceInNumPy) {
  const Tensor bank = knn_features(40, 0.2), query = knn_features(15, 0.37);
  const Tensor wanted = at::tensor({2, 1, 2, 2, 0, 0, 0, 3, 3, 2, 2, 2, 1, 1, 1}, at::kLong);
  EXPECT_TRUE(at::equal(knn_predict(bank, knn_labels(), query, 7, 0.07, 0), wanted));
  const Tensor nearest = at::tensor({2, 1, 1, 1, 0, 0, 0, 3, 3, 2, 2, 2, 1, 1, 1}, at::kLong);
  EXPECT_TRUE(at::equal(knn_predict(bank, knn_labels(), query, 1, 0.07, 4), nearest));
  EXPECT_DOUBLE_EQ(knn_top1(bank, knn_labels(), query, at::arange(15).remainder(4), 7), 0.4);
}

TEST(Knn, WeighsByTemperature) {
  // One neighbour of class 1 at cosine 1, two of class 0 at cosine 0.8.
  const Tensor bank = at::tensor({1.f, 0.f, 0.8f, 0.6f, 0.8f, -0.6f}).view({3, 2});
  const Tensor label = at::tensor({1, 0, 0}, at::kLong), query = at::tensor({5.f, 0.f}).view({1, 2});
  EXPECT_EQ(knn_predict(bank, label, query, 3, 0.07, 2).item<int64_t>(), 1);
  EXPECT_EQ(knn_predict(bank, label, query, 3, 1.0, 2).item<int64_t>(), 0);
  EXPECT_EQ(knn_predict(bank, label, query, 3, 0.001, 2).item<int64_t>(), 1);  // exp(1000) would be inf
}

TEST(Knn, HandlesLargeKEqualVotesAndMissingLabels) {
  const Tensor bank = at::eye(3), label = at::tensor({2, 1, -1}, at::kLong);
  const Tensor query = at::tensor({1.f, 1.f, 0.f}).view({1, 3});
  EXPECT_EQ(knn_predict(bank, label, query, 20, 0.07, 3).item<int64_t>(),
            1);  // equal votes: the smaller label
  const Tensor unlabelled = at::tensor({0.f, 0.2f, 5.f}).view({1, 3});
  EXPECT_EQ(knn_predict(bank, label, unlabelled, 1, 0.07, 3).item<int64_t>(), 1);
  EXPECT_EQ(knn_top1(bank, label, at::eye(3), at::tensor({2, 0, -1}, at::kLong)), 0.5);
}

TEST(Knn, IsTheSameInOneChunkAndInMany) {
  // 2^24 / 40000 = 419 queries in a chunk.
  SeededDraws draws(0);
  const Tensor bank = draws.normal("bank", {40000, 16}), query = draws.normal("query", {900, 16});
  const Tensor label = (at::arange(40000) * 7).remainder(11);
  const Tensor whole = knn_predict(bank, label, query, 5, 0.07, 11);
  EXPECT_EQ(whole.size(0), 900);
  for (const int64_t i : {0, 418, 419, 899})
    EXPECT_EQ(whole[i].item<int64_t>(),
              knn_predict(bank, label, query.slice(0, i, i + 1), 5, 0.07, 11).item<int64_t>());
}

// --- the verdict, on made-up histories

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

struct History {
  std::vector<double> loss, skill, rank, deviation, knn;  ///< an empty list: not measured
  std::vector<Health> checks() const {
    std::vector<Health> out;
    for (size_t i = 0; i < loss.size(); ++i) {
      Health health;
      health.step = static_cast<int64_t>(100 * i);
      health.loss = loss[i];
      health.has_skill = !skill.empty();
      if (health.has_skill) health.skill.over_mean = skill[i];
      health.spread = {rank.empty() ? 20 : rank[i], deviation.empty() ? 0.4 : deviation[i]};
      if (!knn.empty()) health.knn = knn[i], health.knn_chance = 0.1;
      out.push_back(health);
    }
    return out;
  }
  Verdict verdict() const { return judge(checks()); }
};

TEST(Verdict, SaysNothingBeforeTwoChecks) {
  EXPECT_EQ(judge({}).state, State::kStarting);
  EXPECT_EQ((History{{kNaN}, {-0.2}}).verdict().state, State::kStarting);
  const Verdict verdict = History{{kNaN, 0.9}, {-0.2, 0.3}}.verdict();
  EXPECT_EQ(verdict.state, State::kStarting);
  EXPECT_EQ(verdict.text, "starting: too early to tell");
}

TEST(Verdict, Learning) {
  const Verdict verdict =
      History{{kNaN, 0.9, 0.8, 0.7}, {-0.2, 0.05, 0.3, 0.41}, {}, {}, {0.21, 0.25, 0.3, 0.38}}.verdict();
  EXPECT_EQ(verdict.state, State::kLearning);
  EXPECT_EQ(verdict.since, 200);
  EXPECT_EQ(
      verdict.text,
      "learning: explains 41 % of what is hidden, loss fell from 0.9 to 0.7, k-NN rose from 21 % to 38 %");
}

TEST(Verdict, LearningWithoutSkillAndLabels) {
  const Verdict verdict = History{{5.2, 4.9, 4.5}}.verdict();
  EXPECT_EQ(verdict.state, State::kLearning);
  EXPECT_EQ(verdict.text, "learning: loss fell from 5.2 to 4.5");
  // At the end of a long run the loss is flat, and that is no fault.
  EXPECT_EQ((History{{5.2, 4, 3, 2, 2, 2, 2, 2, 2, 2}}).verdict().state, State::kLearning);
  EXPECT_EQ((History{{-1.0, -1.5, -2.0}}).verdict().state, State::kLearning);
}

TEST(Verdict, StuckAtTheChanceValue) {
  // The loss of MAE falls from 1.3 to 1.0, that of the patch mean, and stays there.
  const History run{{kNaN, 1.3, 1.1, 1.01, 1.0, 1.0, 1.0, 1.0, 1.0}, std::vector<double>(9, 0.001)};
  const Verdict verdict = run.verdict();
  EXPECT_EQ(verdict.state, State::kStuck);
  EXPECT_EQ(verdict.since, 700);
  EXPECT_THAT(verdict.text,
              HasSubstr("stuck at its chance value since step 700: the prediction is no better than"));
  EXPECT_THAT(verdict.text, HasSubstr("explains 0 % of what is hidden"));
  // It does not count as stuck while the loss falls, or before four checks.
  EXPECT_EQ((History{{kNaN, 1.3, 1.2, 1.1, 1.08, 1.06}, std::vector<double>(6, 0.0)}).verdict().state,
            State::kLearning);
  EXPECT_EQ((History{{kNaN, 1.0, 1.0, 1.0}, std::vector<double>(4, 0.0)}).verdict().state, State::kStarting);
}

TEST(Verdict, StuckWithoutSkill) {
  const Verdict verdict =
      History{{6.24, 6.24, 6.23, 6.24, 6.24, 6.24}, {}, {}, {}, std::vector<double>(6, 0.2)}.verdict();
  EXPECT_EQ(verdict.state, State::kStuck);
  EXPECT_EQ(verdict.since, 400);
  EXPECT_THAT(verdict.text, HasSubstr("the loss does not fall"));
  EXPECT_THAT(verdict.text, HasSubstr("k-NN stays at 20 %"));
  // Neighbours that get better refute it.
  EXPECT_EQ(
      (History{{6.24, 6.24, 6.24, 6.24, 6.24}, {}, {}, {}, {0.2, 0.2, 0.22, 0.25, 0.3}}).verdict().state,
      State::kLearning);
}

TEST(Verdict, LeavesTheStuckState) {
  const Verdict verdict = History{{1, 1, 1, 1, 1, 1, 0.9}, {0, 0, 0, 0, 0, 0, 0.1}}.verdict();
  EXPECT_EQ(verdict.state, State::kLearning);
  EXPECT_EQ(verdict.since, 600);
}

TEST(Verdict, CollapsedByRankOrDeviation) {
  // A loss that falls all the time, as it does when a joint-embedding method collapses.
  const Verdict by_rank = History{{5, 4, 3, 2, 1}, {}, {24, 20, 2, 1.2, 1.1}}.verdict();
  EXPECT_EQ(by_rank.state, State::kCollapsed);
  EXPECT_EQ(by_rank.since, 300);
  EXPECT_THAT(by_rank.text, HasSubstr("collapsed since step 300: "));
  EXPECT_THAT(by_rank.text, HasSubstr("effective rank 24.0 -> 1.1"));
  const Verdict by_deviation =
      History{{5, 4, 3, 2}, {}, {}, {0.4, 0.3, 0.01, 0.008}, {0.21, 0.2, 0.12, 0.1}}.verdict();
  EXPECT_EQ(by_deviation.state, State::kCollapsed);
  EXPECT_THAT(by_deviation.text, HasSubstr("deviation 0.40 -> 0.01"));
}

TEST(Verdict, RaisesNoFalseAlarmOfCollapse) {
  const std::vector<double> falling{5, 4, 3, 2};
  // One low check only.
  EXPECT_EQ((History{falling, {}, {24, 20, 18, 1.2}}).verdict().state, State::kLearning);
  // A quarter of the untrained network's, but not small; small, but no less than the untrained network's.
  EXPECT_EQ((History{falling, {}, {24, 10, 5, 4}}).verdict().state, State::kLearning);
  EXPECT_EQ((History{falling, {}, {2.5, 2, 1.5, 1.4}}).verdict().state, State::kLearning);
  EXPECT_EQ((History{falling, {}, {}, {0.1, 0.05, 0.04, 0.04}}).verdict().state, State::kLearning);
  // Low-rank features that reconstruct, or tell classes apart, are not collapsed.
  EXPECT_EQ((History{falling, {0, 0.1, 0.2, 0.3}, {24, 4, 2, 2}}).verdict().state, State::kLearning);
  EXPECT_EQ((History{falling, {}, {24, 4, 2, 2}, {}, {0.2, 0.3, 0.35, 0.4}}).verdict().state,
            State::kLearning);
}

TEST(BestStep, KnnDecidesBeyondItsNoiseAndTheExplainedShareWithin) {
  // 256 queries at 20 %: a standard error of 2.5 points.
  const auto best = [](const std::vector<double>& knn, const std::vector<double>& explained) {
    std::vector<Health> history;
    for (size_t i = 0; i < std::max(knn.size(), explained.size()); ++i) {
      Health health;
      health.step = static_cast<int64_t>(10 * i);
      health.has_skill = !explained.empty();
      if (health.has_skill) health.skill.over_mean = explained[i];
      if (!knn.empty()) health.knn = knn[i], health.knn_queries = 256;
      history.push_back(health);
    }
    return best_step(history);
  };
  EXPECT_EQ(best({0.9}, {0.9}), -1);                                        // the untrained network
  EXPECT_EQ(best({0.1, 0.20, 0.15}, {0, 0.1, 0.9}), 10);                    // clearly worse
  EXPECT_EQ(best({0.1, 0.20, 0.18}, {0, 0.1, 0.2}), 20);                    // as good, and explains more
  EXPECT_EQ(best({0.1, 0.20, 0.22}, {0, 0.2, 0.1}), 10);                    // as good, and explains less
  EXPECT_EQ(best({0.1, 0.20, 0.24}, {0, 0.2, 0.1}), 20);                    // clearly better
  EXPECT_EQ(best({0.1, 0.20, 0.18, 0.16, 0.14}, {0, .1, .2, .3, .4}), 20);  // falls in small steps
  EXPECT_EQ(best({0.1, 0.20, 0.18}, {}), 20);                               // nothing to explain: the later
  EXPECT_EQ(best({}, {0, 0.3, 0.2, 0.4}), 30);
}

TEST(HealthLine, SaysItInOneLine) {
  Health health;
  health.step = 300;
  health.has_skill = true;
  health.skill = {0.41, 0.12};
  health.spread = {23.41, 0.3};
  health.knn = 0.38, health.knn_chance = 0.1;
  health.data_wait = 0.02;
  Verdict verdict;
  verdict.state = State::kLearning;
  EXPECT_EQ(health_line(health, verdict),
            "explains 41 % of what is hidden (over blur: 12 %) | rank 23.4 | k-NN 38 % (chance 10 %) | data "
            "wait 2 % | "
            "learning");
  health.has_skill = false;
  health.knn = -1;
  verdict.state = State::kCollapsed, verdict.since = 200;
  EXPECT_EQ(health_line(health, verdict), "rank 23.4 | data wait 2 % | collapsed since step 200");
}

TEST(HealthJson, KeepsEveryNumber) {
  Health health;
  health.step = 300, health.loss = 0.1 + 0.2;
  health.has_skill = true, health.skill = {1.0 / 3, -0.5};
  health.spread = {23.4, 0.3};
  health.knn = 0.38, health.knn_chance = 0.1, health.knn_queries = 256, health.data_wait = 0.02;
  const Health back = health_from_json(Json::parse(to_json(health).dump()));
  EXPECT_EQ(to_json(back), to_json(health));
  EXPECT_EQ(back.loss, health.loss);
  EXPECT_TRUE(back.has_skill);

  Health first;
  first.loss = kNaN;
  const Health first_back = health_from_json(Json::parse(to_json(first).dump()));
  EXPECT_TRUE(std::isnan(first_back.loss));
  EXPECT_FALSE(first_back.has_skill);
  EXPECT_EQ(first_back.knn, -1);
}

}  // namespace
}  // namespace lacuna::train
