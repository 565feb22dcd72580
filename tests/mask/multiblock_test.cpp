#include "lacuna/mask/multiblock.h"

#include <gtest/gtest.h>

#include <set>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna::mask {
namespace {

const nn::Grid3 kGrid{4, 6, 6};

std::set<int64_t> row(const at::Tensor& ids, int64_t b) {
  const auto one = ids[b].contiguous();
  return {one.const_data_ptr<int64_t>(), one.const_data_ptr<int64_t>() + one.numel()};
}

TEST(MultiBlock, SizesFollowTheNumbers) {
  const MultiBlockGroup group{
      .spatial_scale = {0.25, 0.75}, .temporal_scale = {0.5, 1}, .aspect_ratio = {0.5, 2}};
  const auto least = block_size(group, kGrid, {0, 0, 0});  // 9 tokens, height / width 1/2
  EXPECT_EQ(std::tie(least.t, least.h, least.w), std::make_tuple(int64_t{2}, int64_t{2}, int64_t{4}));
  const auto most = block_size(group, kGrid, {1, 1, 1});  // 27 tokens, 7.3 rows cut to 6
  EXPECT_EQ(std::tie(most.t, most.h, most.w), std::make_tuple(int64_t{4}, int64_t{6}, int64_t{4}));
}

TEST(MultiBlock, ContextAndTargetsDoNotOverlapAndRise) {
  SeededDraws draws(3);
  for (const auto& group : MultiBlockConfig().groups()) {
    const auto masks = draw_multi_block(group, 0, kGrid, 5, 7, draws);
    for (int64_t b = 0; b < 5; ++b) {
      const auto seen = row(masks.context, b), asked = row(masks.targets, b);
      EXPECT_EQ(std::ssize(seen), masks.context.size(1));  // no token twice
      for (const int64_t token : asked) EXPECT_EQ(seen.count(token), 0U);
      EXPECT_TRUE(masks.context[b].diff().gt(0).all().item<bool>());
      EXPECT_TRUE(masks.targets[b].diff().gt(0).all().item<bool>());
    }
  }
}

TEST(MultiBlock, BlocksReachOverAllTime) {
  SeededDraws draws(1);
  const auto masks = draw_multi_block(MultiBlockConfig().groups()[1], 1, kGrid, 1, 1, draws);
  for (const int64_t token : row(masks.targets, 0))
    EXPECT_EQ(row(masks.targets, 0).count((token + kGrid.plane()) % kGrid.count()), 1U);
}

TEST(MultiBlock, OptionsOfTheContext) {
  SeededDraws draws(3);
  MultiBlockGroup group{.num_blocks = 2, .max_temporal_keep = 0.5};
  auto masks = draw_multi_block(group, 0, kGrid, 3, 1, draws);
  EXPECT_LT(masks.context.max().item<int64_t>(), 2 * kGrid.plane());
  group = {.num_blocks = 2, .max_keep = 10, .full_complement = true};
  masks = draw_multi_block(group, 0, kGrid, 3, 1, draws);
  EXPECT_EQ(masks.context.size(1), 10);
  EXPECT_EQ(masks.targets.size(1), kGrid.count() - 10);
}

// The same sizes for every process of a step; places belong to samples.
TEST(MultiBlock, ASampleKeepsItsBlocksInAnyBatch) {
  const auto group = MultiBlockConfig().groups()[1];
  SeededDraws whole(5, 0, {0, 1, 2, 3}), half(5, 0, {2, 3});
  const auto all = draw_multi_block(group, 1, kGrid, 4, 9, whole),
             part = draw_multi_block(group, 1, kGrid, 2, 9, half);
  const auto shorter = std::min(all.context.size(1), part.context.size(1));
  EXPECT_TRUE(all.context.slice(0, 2).slice(1, 0, shorter).equal(part.context.slice(1, 0, shorter)));
}

TEST(MultiBlock, ImpossibleGroupsAreRefused) {
  MultiBlockConfig config;
  config.spatial_min = config.spatial_max = {1.0};
  EXPECT_THROW(check_multi_block(config, kGrid), Error);
  config = {};
  config.max_keep = {1, 2, 3};
  EXPECT_THROW(config.groups(), Error);
  config = {};
  config.spatial_min = {0.9, 0.9};
  EXPECT_THROW(config.groups(), Error);
}

}  // namespace
}  // namespace lacuna::mask
