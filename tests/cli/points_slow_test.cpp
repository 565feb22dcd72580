// Clouds of points from the command line: GeoMAE trained, resumed, asked for classes of points and for
// geometry.

#include <gmock/gmock.h>

#include "tests/support/whole_run.h"

namespace lacuna::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

const std::vector<std::string> kSmall = {"voxel.size=[0.8,0.8,4]",
                                         "voxel.range=[-4,-4,-1.5,4,4,2.5]",
                                         "voxel.low=[4,2,2]",
                                         "voxel.med=[2,2,2]",
                                         "encoder.point_channels=[8,16]",
                                         "encoder.embed_dim=16",
                                         "encoder.depth=1",
                                         "encoder.num_heads=2",
                                         "encoder.mlp_dim=32",
                                         "encoder.window=[4,4]",
                                         "decoder.depth=1",
                                         "train.steps=4",
                                         "train.batch_size=4",
                                         "train.lr=1e-3",
                                         "train.log_every=1",
                                         "train.workers=0",
                                         "train.checkpoint_every=2",
                                         "health.samples=8",
                                         "train.keep=20"};
const std::string kRooms = "synthetic:rooms?count=16&points=300";

json asked(const fs::path& run, const std::string& protocol, const std::vector<std::string>& settings) {
  return json::parse(run_whole(
      with_settings({"eval", protocol, run.string(), "--test", kRooms + "&split=test", "--json"}, settings)));
}

TEST(Points, AreLearntFromResumedAndToldApart) {
  const TemporaryFolder folder;
  const auto run = folder / "run";
  run_whole(with_settings({"pretrain", "geomae", "--data", kRooms, "--out", run.string()}, kSmall));
  expect_resumed_alike(run, folder / "stopped");

  const std::vector<std::string> probe{"segment.epochs=20", "segment.batch_points=256"};
  const auto frozen = asked(run, "segment", probe);
  EXPECT_EQ(frozen["settings"]["classes"].size(), 8U);
  EXPECT_EQ(frozen["settings"]["train_points"], 16 * 300);
  EXPECT_GT(frozen["metrics"]["accuracy"].get<double>(), frozen["metrics"]["chance"].get<double>() + 0.1);
  EXPECT_GT(frozen["metrics"]["miou"].get<double>(), 2 * frozen["metrics"]["chance_miou"].get<double>());
  EXPECT_TRUE(fs::exists(run / "evals/segment/segment.safetensors"));
  EXPECT_EQ(json::parse(slurp(run / "evals/segment.json")), frozen);
  EXPECT_EQ(asked(run, "segment", probe), frozen);
  const auto tuned = asked(run, "segment",
                           {"segment.frozen=false", "segment.own=false", "segment.hidden=8",
                            "segment.weighted=true", "segment.epochs=4"});
  EXPECT_GT(tuned["metrics"]["accuracy"].get<double>(), 0.2);

  const auto geometry = asked(run, "geometry", {});
  for (const char* metric :
       {"angle", "angle_sign_free", "mean_normal_angle", "centroid_top", "mean_centroid_low"})
    EXPECT_GT(geometry["metrics"][metric].get<double>(), 0) << metric;
  EXPECT_LT(geometry["metrics"]["angle_sign_free"].get<double>(), 90.01);
  EXPECT_LT(geometry["metrics"]["mean_centroid_top"].get<double>(), 2);

  const auto unlabelled =
      run_program({"eval", "segment", run.string(), "--data", "synthetic:terrain?count=4&points=100"});
  EXPECT_EQ(unlabelled.code, 2);
  EXPECT_THAT(unlabelled.err, HasSubstr("no point inside of voxel.range has a label"));
  const auto misspelt = run_program({"eval", "segment", run.string(), "--set", "segment.epoch=3"});
  EXPECT_EQ(misspelt.code, 2);
  EXPECT_THAT(misspelt.err, HasSubstr("segment.epochs"));
}

}  // namespace
}  // namespace lacuna::testing
