#include "lacuna/target/kmeans.h"

#include <gtest/gtest.h>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna::target {
namespace {

/// 400 points around four corners.
at::Tensor corners(uint64_t seed) {
  SeededDraws draws(seed);
  const auto centres = torch::tensor({0., 0., 10., 0., 0., 10., 10., 10.}, torch::kFloat).view({4, 2});
  return centres.repeat_interleave(100, 0) + draws.normal("points", {400, 2});
}

TEST(KMeans, NearestEqualsTheFullDistances) {
  SeededDraws draws(1);
  const auto x = draws.normal("x", {50, 7}), centers = draws.normal("c", {9, 7});
  EXPECT_TRUE(nearest(x, centers).equal(torch::cdist(x, centers).argmin(1)));
  EXPECT_NEAR(inertia(x, centers), std::get<0>(torch::cdist(x, centers).square().min(1)).sum().item<double>(),
              1e-3);
}

TEST(KMeans, LloydKeepsACentreWithoutRows) {
  const auto x = torch::tensor({0., 1., 9., 11.}, torch::kFloat).view({4, 1});
  const auto centers = torch::tensor({0., 10., 100.}, torch::kFloat).view({3, 1});
  EXPECT_TRUE(lloyd_round(x, centers).equal(torch::tensor({0.5, 10., 100.}, torch::kFloat).view({3, 1})));
}

TEST(KMeans, MiniBatchesFindTheFourCorners) {
  Codebooks books;
  KMeansConfig config{.clusters = 4, .batch_frames = 50, .max_epochs = 20, .inits = 3};
  books.fit(corners(2), config, 0, 0);
  const auto found = std::get<0>(
      torch::cdist(torch::tensor({0., 0., 10., 0., 0., 10., 10., 10.}, torch::kFloat).view({4, 2}),
                   books.books()[0])
          .min(1));
  EXPECT_LT(found.max().item<double>(), 0.5);
}

TEST(KMeans, ResumesFromItsStateExactly) {
  KMeansConfig config{.clusters = 4, .batch_frames = 50, .max_epochs = 5, .inits = 2};
  Codebooks whole;
  whole.fit(corners(2), config, 0, 0);
  auto resumed = Codebooks::from_state(whole.state());
  whole.fit(corners(3), config, 0, 1);
  resumed.fit(corners(3), config, 0, 1);
  EXPECT_TRUE(whole.books()[0].equal(resumed.books()[0]));
}

TEST(KMeans, RefusesFewerFramesThanClusters) {
  Codebooks books;
  EXPECT_THROW(books.fit(torch::zeros({3, 2}), {.clusters = 4}, 0, 0), Error);
}

TEST(ResidualQuantiser, EachCodebookLeavesLess) {
  SeededDraws draws(5);
  const auto x = draws.normal("x", {500, 6});
  Codebooks books;
  books.fit(x, {.clusters = 8, .codebooks = 3, .batch_frames = 100, .max_epochs = 10, .inits = 2}, 0, 0);
  ASSERT_EQ(books.books().size(), 3U);
  double before = x.square().sum().item<double>();
  for (size_t q = 1; q <= 3; ++q) {
    const Codebooks first({books.books().begin(), books.books().begin() + static_cast<std::ptrdiff_t>(q)});
    const double left = first.residual(x).square().sum().item<double>();
    EXPECT_LT(left, before);
    before = left;
  }
  EXPECT_EQ(books.encode(x).sizes(), (std::vector<int64_t>{500, 3}));
}

}  // namespace
}  // namespace lacuna::target
