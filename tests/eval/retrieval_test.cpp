#include <gtest/gtest.h>

#include "lacuna/core/torch.h"
#include "lacuna/eval/clip_model.h"

namespace lacuna::eval {
namespace {

TEST(Retrieval, RecallBothWays) {
  // Three pictures; texts 0, 1 belong to picture 0, text 2 to 1, text 3 to 2.
  const auto similarity = torch::tensor({{0.9, 0.1, 0.8, 0.2}, {0.7, 0.6, 0.5, 0.4}, {0.0, 0.3, 0.1, 0.3}});
  const auto found = retrieval_metrics(similarity, torch::tensor({0, 0, 1, 2}), {1, 2});
  // Ranks of the best own text: 1, 3, 2 (text 1 is as similar as text 3 and comes first).
  EXPECT_DOUBLE_EQ(found["image_to_text_r1"], 1.0 / 3);
  EXPECT_DOUBLE_EQ(found["image_to_text_r2"], 2.0 / 3);
  EXPECT_DOUBLE_EQ(found["image_to_text_median_rank"], 2);
  // Ranks of the picture of each text: 1, 3, 2, 2.
  EXPECT_DOUBLE_EQ(found["text_to_image_r1"], 0.25);
  EXPECT_DOUBLE_EQ(found["text_to_image_r2"], 0.75);
  EXPECT_DOUBLE_EQ(found["text_to_image_median_rank"], 2);
}

TEST(Retrieval, RandomScoresAgreeWithCounting) {
  const int64_t N = 7, M = 20;
  const auto similarity = SeededDraws(5).normal("s", {N, M});
  const auto owner = torch::arange(M).remainder(N);
  const auto found = retrieval_metrics(similarity, owner, {1, 5});
  for (const int64_t k : {1, 5}) {
    double pictures = 0, texts = 0;
    for (int64_t i = 0; i < N; ++i) {
      bool hit = false;
      for (int64_t j = 0; j < M; ++j)
        hit = hit ||
              (owner[j].item<int64_t>() == i && similarity[i].gt(similarity[i][j]).sum().item<int64_t>() < k);
      pictures += hit;
    }
    for (int64_t j = 0; j < M; ++j) {
      const auto column = similarity.select(1, j);
      texts += column.gt(column[owner[j].item<int64_t>()]).sum().item<int64_t>() < k;
    }
    EXPECT_DOUBLE_EQ(found[str("image_to_text_r", k)], pictures / N);
    EXPECT_DOUBLE_EQ(found[str("text_to_image_r", k)], texts / M);
  }
}

}  // namespace
}  // namespace lacuna::eval
