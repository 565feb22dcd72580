#include "lacuna/data/motion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "tests/support/program.h"
#include "tests/support/shared.h"

namespace lacuna::data {
namespace {

using ::testing::ElementsAre;

io::Motion ramp(int64_t frames, double rate) {
  const auto skeleton = std::make_shared<const io::Skeleton>(io::Skeleton{{"a", "b", "c"}, {-1, 0, 1}});
  auto positions = torch::zeros({frames, 3, 3});
  positions.select(1, 1).select(1, 0).copy_(torch::arange(frames, torch::kFloat));
  return {skeleton, positions, rate};
}

TEST(Motions, AreResampledLinearly) {
  const auto half = resample(ramp(7, 60), 30), odd = resample(ramp(4, 30), 40);
  EXPECT_EQ(half.frames(), 4);
  EXPECT_FLOAT_EQ(half.positions[2][1][0].item<float>(), 4);
  EXPECT_EQ(odd.frames(), 5);  // 0, 0.75, 1.5, 2.25, 3
  EXPECT_FLOAT_EQ(odd.positions[1][1][0].item<float>(), 0.75);
  EXPECT_EQ(resample(ramp(4, 0), 40).frames(), 4);  // its rate is not known
}

TEST(Motions, KeptJointsHangOnTheirNearestKeptAncestor) {
  const io::Skeleton skeleton{{"hip", "thigh", "knee", "foot", "head"}, {-1, 0, 1, 2, 0}};
  const auto kept = keep_joints(skeleton, {0, 3, 4});
  EXPECT_THAT(kept.joints, ElementsAre("hip", "foot", "head"));
  EXPECT_THAT(kept.parents, ElementsAre(-1, 0, 0));
  EXPECT_THROW(keep_joints(skeleton, {0, 9}), Error);
  EXPECT_THROW(keep_joints(skeleton, {1, 0}), Error);
}

Record record(io::Motion motion) { return {"r", 0, std::move(motion)}; }

TEST(MotionTransform, CutsAndStandsOnTheRoot) {
  MotionConfig config;
  config.parents = {-1, 0, 1};
  auto motion = ramp(20, 25);
  motion.positions += 5;
  const MotionTransform training(config, 8);
  const auto whole = (*std::dynamic_pointer_cast<const MotionTransform>(training.evaluating()))(
      record(motion), Stream(0, "x"));
  EXPECT_TRUE(whole.select(1, 0).equal(torch::zeros({8, 3})));
  EXPECT_TRUE(torch::allclose(whole.select(1, 1).select(1, 0), torch::arange(8, torch::kFloat)));
  config.rotate = config.mirror = 0;
  const MotionTransform plain(config, 8);
  std::set<float> starts;
  for (uint64_t i = 0; i < 40; ++i)
    starts.insert(plain(record(motion), Stream(0, "x", i))[0][1][0].item<float>());
  EXPECT_GE(*starts.begin(), 0);
  EXPECT_LE(*starts.rbegin(), 12);
  EXPECT_GT(starts.size(), 8U);
  EXPECT_THROW(plain(record(ramp(7, 25)), Stream(0, "x")), Error);
}

TEST(MotionTransform, TurnsKeepHeightsAndLengths) {
  MotionConfig config;
  config.parents = {-1, 0, 1};
  config.rotate = 1;
  auto motion = ramp(8, 25);
  motion.positions.select(1, 2).copy_(torch::rand({8, 3}));
  const auto turned = MotionTransform(config, 8)(record(motion), Stream(3, "x"));
  const auto length = [](const at::Tensor& x) { return x.square().sum(-1).sqrt(); };
  EXPECT_TRUE(torch::allclose(length(turned), length(motion.positions), 1e-4, 1e-5));
  EXPECT_TRUE(torch::allclose(turned.select(2, 2), motion.positions.select(2, 2), 1e-5, 1e-6));
  EXPECT_FALSE(torch::allclose(turned, motion.positions, 1e-3, 1e-3));
}

TEST(Walkers, MoveAndAreTheSameWhenDrawnAgain) {
  const auto set = open_dataset("synthetic:walkers?count=12&frames=50", "train");
  EXPECT_EQ(set->modality(), "motion");
  EXPECT_EQ(set->classes().size(), 6U);
  const auto one = decode_motion(set->get(3)), again = decode_motion(set->get(3));
  EXPECT_TRUE(one.positions.equal(again.positions));
  EXPECT_EQ(one.positions.sizes(), (std::vector<int64_t>{50, 17, 3}));
  EXPECT_GT((one.positions.slice(0, 1) - one.positions.slice(0, 0, 49)).abs().max().item<double>(), 1e-3);
  // Bones keep their lengths.
  const auto bone = (one.positions.select(1, 2) - one.positions.select(1, 1)).square().sum(1).sqrt();
  EXPECT_LT((bone.max() - bone.min()).item<double>(), 1e-4);
}

TEST(MotionSets, SamplesTakeClassesInTurnAndWindowsCoverAll) {
  const auto whole = open_dataset("synthetic:walkers?count=12&frames=50", "train");
  MotionConfig config;
  config.epoch_samples = 60;
  const auto samples = motion_samples(whole, config, 20);
  EXPECT_EQ(samples->size(), 60);
  for (int64_t i = 0; i < 6; ++i) EXPECT_EQ(samples->label(i), i);
  const auto windows = motion_windows(whole, config, 20, 15);  // at 0, 15 and 30
  EXPECT_EQ(windows->size(), 36);
  EXPECT_TRUE(decode_motion(windows->get(1))
                  .positions.equal(decode_motion(whole->get(0)).positions.slice(0, 15, 35)));
  EXPECT_THROW(motion_windows(whole, config, 51, 15), Error);
}

TEST(MotionSets, CmusRotationsBecomeBodies) {
  LACUNA_NEEDS_SHARED("data/cmu-mocap");
  const auto set = open_dataset("motion:" + (testing::shared_folder() / "data/cmu-mocap").string(), "train");
  EXPECT_EQ(set->size(), 52);
  EXPECT_EQ(open_test_split(set->uri())->size(), 12);
  const auto motion = decode_motion(set->get(0));
  EXPECT_EQ(motion.rate, 60);
  EXPECT_EQ(motion.positions.size(1), 38);
  // A person stands upright, between one and a half and two metres tall.
  const auto height = motion.positions.select(2, 2);
  const double tall = (height.amax(1) - height.amin(1)).median().item<double>();
  EXPECT_GT(tall, 1.2);
  EXPECT_LT(tall, 2.2);
}

}  // namespace
}  // namespace lacuna::data
