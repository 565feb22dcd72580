#include "lacuna/eval/knn.h"

#include <gtest/gtest.h>

#include <cmath>

#include "lacuna/core/torch.h"
#include "tests/support/features.h"

namespace lacuna::eval {
namespace {

using testing::clusters;

/// The definition of weighted k-NN, query by query.
double brute_force(const Features& bank, const Features& test, int64_t k, double temperature) {
  int64_t right = 0;
  for (int64_t q = 0; q < test.size(); ++q) {
    std::vector<std::pair<double, int64_t>> near;
    for (int64_t b = 0; b < bank.size(); ++b)
      near.push_back({at::cosine_similarity(test.features[q], bank.features[b], 0).item<double>(),
                      bank.labels[b].item<int64_t>()});
    std::sort(near.rbegin(), near.rend());
    std::map<int64_t, double> votes;
    for (int64_t i = 0; i < k; ++i)
      votes[near[static_cast<size_t>(i)].second] +=
          std::exp(near[static_cast<size_t>(i)].first / temperature);
    const auto best = std::max_element(votes.begin(), votes.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    right += best->first == test.labels[q].item<int64_t>();
  }
  return static_cast<double>(right) / static_cast<double>(test.size());
}

TEST(Knn, EqualsTheDefinitionForEveryK) {
  const auto bank = clusters(4, 20, 6, 1.0, 1), test = clusters(4, 10, 6, 1.0, 2);
  EvalConfig config;
  config.k = {1, 5, 40, 100};
  const auto result = knn(bank, test, config);
  for (const int64_t k : {1, 5, 20, 40})
    EXPECT_DOUBLE_EQ(result.metrics.at(str("top1_k", k)).get<double>(), brute_force(bank, test, k, 0.07))
        << k;
  EXPECT_LT(result.metrics.at("top1").get<double>(), 1);  // or the comparison would say little
}

TEST(Knn, ReportsTheFixedKAndLeavesOutWhatTheBankCannotFill) {
  const auto bank = clusters(4, 20, 6, 1.0, 1), test = clusters(4, 10, 6, 1.0, 2);
  EvalConfig config;
  config.k = {5, 200};
  const auto result = knn(bank, test, config);
  EXPECT_EQ(result.metrics.at("top1"), result.metrics.at("top1_k20"));
  EXPECT_EQ(result.settings.at("k_of_top1"), 20);
  EXPECT_FALSE(result.metrics.contains("top1_k200"));
  EXPECT_DOUBLE_EQ(result.metrics.at("chance").get<double>(), 0.25);
}

TEST(Knn, ChanceIsTheMajorityShareOfTheTestSet) {
  EXPECT_DOUBLE_EQ(majority_share(torch::tensor({2, 0, 2, 2, 1}, torch::kLong)), 0.6);
}

}  // namespace
}  // namespace lacuna::eval
