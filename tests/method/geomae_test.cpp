#include "lacuna/method/geomae.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/optim/adamw.h>

#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/synthetic_rooms.h"
#include "lacuna/data/synthetic_terrain.h"
#include "lacuna/method/golden.h"
#include "tests/support/shared.h"

namespace lacuna {
namespace {

class GeoMAEGolden : public ::testing::TestWithParam<std::pair<const char*, size_t>> {};

TEST_P(GeoMAEGolden, EveryOutputAgrees) {
  const auto [name, outputs] = GetParam();
  const auto folder = std::string("goldens/geomae/") + name;
  LACUNA_NEEDS_SHARED(folder);
  const auto result = verify_case(testing::shared_folder() / folder);
  EXPECT_TRUE(result.pass) << result.to_json().dump(2);
  EXPECT_EQ(result.outputs.size(), outputs);
}

INSTANTIATE_TEST_SUITE_P(Official, GeoMAEGolden,
                         ::testing::Values(std::pair{"pretrain-step", 41U},
                                           std::pair{"targets-and-windows", 19U}),
                         [](const auto& tested) {
                           std::string name = tested.param.first;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

GeoMAEConfig small() {
  GeoMAEConfig config;
  config.voxel = {.size = {0.8, 0.8, 4}, .range = {-4, -4, -1, 4, 4, 3}, .low = {4, 2, 2}, .med = {2, 2, 2}};
  config.encoder.in_chans = 3, config.encoder.point_channels = {8, 16}, config.encoder.embed_dim = 16;
  config.encoder.depth = 1, config.encoder.num_heads = 2, config.encoder.mlp_dim = 32;
  config.encoder.window = {4, 4};
  config.decoder.depth = 1;
  config.target.curvature = true;
  return config;
}

Batch rooms(int64_t clouds, int64_t points) {
  Batch batch;
  batch.points = torch::zeros({clouds, points, 3});
  for (int64_t b = 0; b < clouds; ++b) {
    const auto room = data::draw_room(b, points, Stream(0, "room", static_cast<uint64_t>(b)));
    batch.points[b].copy_(torch::tensor(room.values).view({points, 3}));
    batch.sample.push_back(b);
  }
  batch.point_count = torch::full({clouds}, points, torch::kLong);
  return batch;
}

TEST(GeoMAE, VoxelsAreThoseOfFloorAndNanIsOutside) {
  const nn::VoxelGrid grid{{4, 0.8, 0.8}, {-1, -4, -4}, {1, 10, 10}};
  const auto points =
      torch::tensor({-4.0F, -4.0F, -1.0F, 3.99F, 0.81F, 2.9F, 4.0F, 0.0F, 0.0F, NAN, 0.0F, 0.0F})
          .view({4, 3});
  const auto wanted = torch::tensor({0, 0, 0, 0, 6, 9, -1, -1, -1, -1, -1, -1}, torch::kLong).view({4, 3});
  EXPECT_TRUE(nn::voxel_coordinates(points, grid).equal(wanted));
}

TEST(GeoMAE, GroupsAreUniqueKeysInOrder) {
  for (const int64_t limit : {100, 50000000}) {  // counted in tables, and sorted
    SeededDraws draws(3);
    const auto keys = (draws.uniform("keys", {20000}) * (limit + 1)).to(torch::kLong).clamp_max(limit) - 1;
    const auto groups = nn::group_by_key(keys, limit);
    const auto kept = keys.index_select(0, keys.ge(0).nonzero().squeeze(1));
    const auto [unique, inverse, count] = at::_unique2(kept, true, true, true);
    EXPECT_TRUE(groups.keys.equal(unique));
    EXPECT_TRUE(groups.count.equal(count));
    EXPECT_TRUE(groups.of.index_select(0, keys.ge(0).nonzero().squeeze(1)).equal(inverse));
    EXPECT_TRUE(groups.of.eq(-1).equal(keys.eq(-1)));
  }
}

TEST(GeoMAE, EigenvectorsAreThoseOfLapack) {
  SeededDraws draws(4);
  const auto half = draws.normal("half", {200, 3, 5}).to(torch::kDouble);
  const auto matrices = half.matmul(half.transpose(1, 2));
  const auto own = target::symmetric_eigen(matrices);
  const auto [values, vectors] = at::linalg_eigh(matrices);
  EXPECT_LT((own.values - values.flip(1)).abs().max().item<double>(), 1e-12 * values.max().item<double>());
  const auto cosine = (own.vectors * vectors.flip(2)).sum(1).abs();
  EXPECT_GT(cosine.min().item<double>(), 1 - 1e-9);
}

TEST(GeoMAE, APlanesNormalIsFoundAndOriented) {
  SeededDraws draws(5);
  auto points = draws.uniform("plane", {1, 4000, 3}) * 6 - 3;
  points.select(2, 2).copy_(0.2 * points.select(2, 0) - 0.1 * points.select(2, 1) + 0.5);
  const GeoMAEConfig config = small();
  const auto pillars =
      nn::make_pillars(points, torch::full({1}, 4000, torch::kLong), nn::pillar_grid(config.voxel));
  const auto all = torch::arange(pillars.size());
  const auto surface = target::surfaces(pillars, target::sub_voxels(pillars, config.voxel.med), all);
  const auto up = target::oriented(surface.normal, target::pillar_centroids(pillars), "up");
  const auto wanted = torch::tensor({1.0F, 0.1F, -0.2F}) / std::sqrt(1.05F);  // z, y, x
  EXPECT_LT((up - wanted).abs().max().item<double>(), 1e-4);
  const auto sensor = target::oriented(surface.normal, target::pillar_centroids(pillars), "sensor");
  EXPECT_LT((sensor + wanted).abs().max().item<double>(), 1e-4);  // the origin lies below the plane
  EXPECT_LT(surface.curvature.select(1, 2).max().item<double>(), 1e-6);
}

TEST(GeoMAE, NormalsOfHillsAreThoseOfTheirHeights) {
  Stream random(1, "hills");
  const data::Terrain hills(random);
  const auto cloud = data::draw_terrain(4000, Stream(1, "hills"));
  auto config = small();
  config.voxel = {
      .size = {0.4, 0.4, 6}, .range = {-4, -4, -5.5, 4, 4, 0.5}, .low = {12, 4, 4}, .med = {6, 2, 2}};
  const auto pillars = nn::make_pillars(torch::tensor(cloud.values).view({1, 4000, 3}),
                                        torch::full({1}, 4000, torch::kLong), nn::pillar_grid(config.voxel));
  const auto at = target::pillar_centroids(pillars);
  const auto surface =
      target::surfaces(pillars, target::sub_voxels(pillars, config.voxel.med), torch::arange(pillars.size()));
  const auto normal = target::oriented(surface.normal, at, "up");
  auto true_normal = torch::empty_like(normal);
  for (int64_t v = 0; v < at.size(0); ++v) {
    const auto n = hills.normal(at[v][2].item<double>(), at[v][1].item<double>());
    for (int64_t axis = 0; axis < 3; ++axis) true_normal[v][axis] = n[static_cast<size_t>(2 - axis)];
  }
  const auto degrees = (normal * true_normal).sum(1).clamp(-1, 1).acos() * (180 / M_PI);
  EXPECT_EQ(pillars.size(), 400);
  EXPECT_LT(degrees.median().item<double>(), 2);
  EXPECT_LT(degrees.mean().item<double>(), 4);
}

TEST(GeoMAE, ForegroundIsWhatIsNotOfTheFirstClass) {
  auto batch = rooms(1, 300);
  batch.point_label = torch::zeros({1, 300}, torch::kLong);
  batch.point_label[0].slice(0, 0, 20).fill_(3);
  batch.point_label[0].slice(0, 20, 40).fill_(-1);
  auto config = small();
  config.mask.of = "foreground", config.mask.ratio = 1;
  SeededDraws draws(10);
  const GeoMAE method(config, draws);
  const auto clouds = method.pillars(batch);
  const auto hidden = method.draw_mask(batch, clouds, draws).hide;
  const auto foreground = nn::labelled_pillars(clouds, batch.point_label.eq(3).to(torch::kLong) - 1);
  EXPECT_EQ(hidden.numel(), foreground.sum().item<int64_t>());
  EXPECT_TRUE(foreground.index_select(0, hidden).all().item<bool>());
}

TEST(GeoMAE, WindowsWithoutPaddingGiveWhatPaddedOnesGive) {
  SeededDraws draws(6);
  nn::SstConfig config{.dim = 16, .num_heads = 2, .mlp_dim = 32, .window = {4, 4, 10, 10}};
  nn::SstStack stack(config, 1);
  stack.initialize(draws, "");
  const auto batch = rooms(2, 300);
  const auto pillars = nn::make_pillars(batch.points, batch.point_count, nn::pillar_grid(small().voxel));
  const auto x = draws.normal("x", {pillars.size(), 16});
  const auto plain = stack.forward(x, nn::sst_places(pillars.coords, config));
  config.levels = {{5, 0, 6}, {16, 6, 1000}};
  const auto padded = stack.forward(x, nn::sst_places(pillars.coords, config));
  EXPECT_LT((plain - padded).abs().max().item<double>(), 1e-5);
}

TEST(GeoMAE, ACloudsMaskDoesNotDependOnTheOthers) {
  SeededDraws draws(7, 0, {10, 11}), alone(7, 0, {11});
  const auto both = mask::mask_pillars({}, {20, 31}, {}, draws);
  const auto one = mask::mask_pillars({}, {31}, {}, alone);
  EXPECT_EQ(both.keep.numel(), 6 + 9);
  EXPECT_EQ(both.hide.numel(), 14 + 22);
  EXPECT_TRUE((both.keep.slice(0, 6) - 20).equal(one.keep));
}

TEST(GeoMAE, LossFallsAndPreviewShowsTheHidden) {
  SeededDraws draws(8);
  GeoMAE method(small(), draws);
  const auto batch = rooms(4, 400);
  torch::optim::AdamW optimizer(method.parameters(), torch::optim::AdamWOptions(5e-3));
  double first = 0, last = 0;
  for (int step = 0; step < 30; ++step) {
    SeededDraws of_step(8, static_cast<uint64_t>(step));
    optimizer.zero_grad();
    const auto loss = method.forward(batch, of_step);
    loss.total.backward();
    optimizer.step();
    (step == 0 ? first : last) = loss.total.item<double>();
    if (step == 0) EXPECT_EQ(loss.parts.count("curvature"), 1U);
  }
  EXPECT_LT(last, 0.8 * first);
  const auto preview = method.preview(batch, draws);
  EXPECT_LT(preview.explained.value(), 1);
  EXPECT_EQ(preview.hidden_points.sizes(), (std::vector<int64_t>{4, 400}));
  EXPECT_GT(preview.hidden_points.sum().item<int64_t>(), 400);
  for (int64_t b = 0; b < 4; ++b) {
    const int64_t n = preview.predicted_count[b].item<int64_t>();
    if (n == 0) continue;  // no part is said to be occupied yet
    EXPECT_LE(preview.predicted_points[b].slice(0, 0, n).abs().max().item<double>(), 4.01);
  }
  EXPECT_TRUE(method.is_training());
  EXPECT_EQ(method.features(batch, {}).sizes(), (std::vector<int64_t>{4, 32}));
}

TEST(GeoMAE, EmptyCloudsAndSinglePointsPass) {
  SeededDraws draws(9);
  GeoMAE method(small(), draws);
  for (const int64_t points : {0, 1}) {
    auto batch = rooms(2, 50);
    batch.point_count = torch::tensor({points, points}, torch::kLong);
    const auto loss = method.forward(batch, draws);
    EXPECT_TRUE(loss.total.isfinite().item<bool>()) << points;
    EXPECT_TRUE(method.features(batch, {}).isfinite().all().item<bool>()) << points;
    EXPECT_EQ(method.preview(batch, draws).points.size(0), 2);
  }
}

TEST(GeoMAE, LevelsThatWouldDropPillarsAreRefused) {
  auto config = small();
  config.encoder.level_tokens = {5, 16}, config.encoder.level_below = {8, 100};
  EXPECT_THROW(config.resolve(ConfigTable()), Error);
  config.encoder.level_below = {6, 100};
  EXPECT_NO_THROW(config.resolve(ConfigTable()));
}

}  // namespace
}  // namespace lacuna
