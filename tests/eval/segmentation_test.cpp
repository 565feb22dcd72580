#include "lacuna/eval/segmentation.h"

#include <gtest/gtest.h>

#include <map>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna::eval {
namespace {

// sklearn.metrics.jaccard_score(average=None), accuracy_score and balanced_accuracy_score (1.9.1) on these
// labels.
TEST(Segmentation, AgreesWithScikitLearn) {
  const auto i = torch::arange(200);
  auto truth = (i * 7 + i.floor_divide(3)).remainder(5);
  const auto said = torch::where(i.remainder(3).eq(0), (i * i).remainder(4), truth);
  const auto metrics =
      segmentation_metrics(confusion_matrix(truth, said, 6), {"a", "b", "c", "d", "e", "never"});
  const std::map<std::string, double> wanted{
      {"iou_a", 0.492537313432836}, {"iou_b", 0.507692307692308},         {"iou_c", 0.658536585365854},
      {"iou_d", 0.666666666666667}, {"iou_e", 0.682926829268293},         {"miou", 0.601671940485191},
      {"accuracy", 0.735},          {"mean_accuracy", 0.735856785490932}, {"chance", 0.205}};
  for (const auto& [name, value] : wanted) EXPECT_NEAR(metrics.at(name).get<double>(), value, 1e-12) << name;
  EXPECT_FALSE(metrics.contains("iou_never"));
}

TEST(Segmentation, WithoutATruthNothingCounts) {
  const auto truth = torch::tensor({0, -1, 1, -1}), said = torch::tensor({0, 1, 0, 0});
  EXPECT_TRUE(confusion_matrix(truth, said, 2).equal(torch::tensor({1, 0, 1, 0}).view({2, 2})));
  EXPECT_THROW(segmentation_metrics(torch::zeros({2, 2}, torch::kLong), {"a", "b"}), Error);
}

TEST(Segmentation, WeightsAreInverseToFrequency) {
  const auto weights = inverse_frequency(torch::tensor({6, 2, 0}));
  EXPECT_TRUE(weights.allclose(torch::tensor({8.0 / 12, 2.0, 0.0}, torch::kFloat)));
}

}  // namespace
}  // namespace lacuna::eval
