#include "lacuna/data/video.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/inspect.h"
#include "lacuna/data/inspect_video.h"
#include "lacuna/data/loader.h"
#include "lacuna/data/synthetic_moving.h"
#include "tests/support/film.h"
#include "tests/support/shared.h"

namespace lacuna::data {
namespace {

using lacuna::testing::level_of;
using lacuna::testing::TemporaryFolder;
using lacuna::testing::write_film;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const Normalization kPlain{{0, 0, 0}, {1, 1, 1}};

VideoTransform transform(VideoConfig config, int64_t frames = 4, Size2 size = {16, 16}) {
  return {std::move(config), frames, size, 3, kPlain, 1 << 20};
}

VideoConfig plain() {
  VideoConfig config;
  config.step = 1, config.crop = "resize", config.flip = 0;
  return config;
}

Record film(const lacuna::testing::FilmKind& kind = {}) { return {"film", 0, write_film(kind)}; }

at::Tensor applied(const VideoTransform& transform, const Record& record, uint64_t seed = 0) {
  auto out = at::empty(transform.shape(), at::kFloat);
  transform(record, Stream(seed, "augment"), out.data_ptr<float>());
  return out;
}

// linspace(0, 8, 4) = 0, 2.67, 5.33, 8 cut to 7, as in V-JEPA's loadvideo_decord.
TEST(ClipFrames, AreVJepas) {
  EXPECT_THAT(clip_frames(20, {4, 2}, 0, 1, nullptr), ElementsAre(0, 2, 5, 7));
  EXPECT_THAT(clip_frames(20, {4, 2}, 1, 2, nullptr), ElementsAre(10, 12, 15, 17));
  // A part that is too short: every second frame, then the last again.
  EXPECT_THAT(clip_frames(6, {4, 2}, 0, 1, nullptr), ElementsAre(0, 3, 5, 5));
  EXPECT_THAT(clip_frames(1, {4, 2}, 0, 1, nullptr), ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(clip_frames(1, {3, 2}, 2, 3, nullptr), ElementsAre(0, 0, 0));
  EXPECT_THAT(clip_frames(16, {16, 1}, 0, 1, nullptr).size(), 16U);
}

TEST(ClipFrames, RandomStartsStayInTheFilm) {
  std::set<int64_t> starts;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    Stream random(seed, "clip");
    const auto frames = clip_frames(20, {4, 2}, 0, 1, &random);
    EXPECT_TRUE(std::is_sorted(frames.begin(), frames.end()));
    EXPECT_LT(frames.back(), 20);
    starts.insert(frames.front());
  }
  EXPECT_EQ(starts.size(), 12U);
}

TEST(FrameStep, BySecond) {
  VideoConfig config;
  EXPECT_EQ(frame_step(config, 30), 4);
  config.fps = 4;
  EXPECT_EQ(frame_step(config, 30), 8);
  EXPECT_EQ(frame_step(config, 2), 1);
}

TEST(VideoTransform, TakesTheFramesItNames) {
  const auto clip = applied(transform(plain()), film({.frames = 4}));  // no longer than the clip
  for (int64_t t = 0; t < 4; ++t)
    EXPECT_NEAR(clip[0][t].mean().item<double>() * 255, level_of(static_cast<int>(t)), 4) << t;
  const auto one = applied(transform(plain()), film({.frames = 1}));
  for (int64_t t = 1; t < 4; ++t) EXPECT_TRUE(one.select(1, t).equal(one.select(1, 0)));
}

TEST(VideoTransform, OneCropAndFlipForAllFrames) {
  VideoConfig config;
  config.step = 1, config.flip = 0.5;
  // A still film: all frames of a clip must come out alike, other seeds otherwise.
  io::Video still{{}, 8};
  const auto picture = draw_moving({40, 60}, 2, 7, Stream(1, "still")).frames[0];
  for (int i = 0; i < 8; ++i) still.frames.push_back({picture.pixels.clone(), 255});
  const Record record{"still", 0, still};
  const auto clip = applied(transform(config), record, 1);
  for (int64_t t = 1; t < 4; ++t) EXPECT_TRUE(clip.select(1, t).equal(clip.select(1, 0)));
  EXPECT_FALSE(applied(transform(config), record, 2).equal(clip));
}

TEST(VideoTransform, ViewsOfAnEvaluation) {
  VideoConfig config = plain();
  config.crop = "random_resized", config.eval_clips = 2, config.eval_crops = 3, config.crop_share = 1;
  const auto views = transform(config).views();
  ASSERT_EQ(views.size(), 6U);
  const auto record = film({.frames = 20, .height = 32, .width = 64});
  std::vector<at::Tensor> clips;
  for (const auto& view : views) clips.push_back(applied(dynamic_cast<const VideoTransform&>(*view), record));
  EXPECT_NEAR(clips[0][0][0].mean().item<double>() * 255, level_of(0), 4);
  EXPECT_NEAR(clips[3][0][0].mean().item<double>() * 255, level_of(10), 4);
  const auto ramp =
      torch::arange(64, torch::kLong).to(torch::kByte).view({1, 64, 1}).expand({32, 64, 3}).contiguous();
  const Record wide{"ramp", 0, io::Video{{{ramp, 255}}, 1}};
  std::vector<double> means;
  for (size_t i = 0; i < 3; ++i)
    means.push_back(applied(dynamic_cast<const VideoTransform&>(*views[i]), wide).mean().item<double>());
  EXPECT_LT(means[0], means[1]);
  EXPECT_LT(means[1], means[2]);
  EXPECT_NEAR(means[0] + means[2], 2 * means[1], 0.01);
}

TEST(VideoFolder, ClassesSplitsAndBrokenFilms) {
  const TemporaryFolder folder;
  for (const char* name : {"a", "b"}) {
    io::fs::create_directories(folder / "set" / name);
    for (int i = 0; i < 3; ++i)
      io::write_atomically(folder / "set" / name / str(i, ".mp4"), write_film({.frames = 3 + i}));
  }
  io::write_atomically(folder / "set/b/1.mp4", "broken");
  const auto set = open_dataset("video:" + (folder / "set").string());
  EXPECT_EQ(set->modality(), "video");
  EXPECT_THAT(set->classes(), ElementsAre("a", "b"));
  EXPECT_EQ(set->size(), 6);
  Loader loader(set, transform(plain()),
                {.batch_size = 6, .workers = 0, .shuffle = false, .drop_last = false, .max_bad = 1});
  const auto batch = loader.next();
  EXPECT_EQ(batch.video.sizes(), (std::vector<int64_t>{5, 3, 4, 16, 16}));
  EXPECT_EQ(loader.bad_records().size(), 1U);
  const auto report = Registry<Inspector>::instance().get("video").inspect(*set, 0, 1).json;
  EXPECT_EQ(report["broken_count"], 1);
  EXPECT_EQ(report["frames"]["max"], 5);
  EXPECT_THAT(report["broken"][0].get<std::string>(), HasSubstr("1.mp4"));
}

TEST(VideoShards, RealClips) {
  LACUNA_NEEDS_SHARED("data/video-fight-clips");
  const auto set =
      open_dataset("wds:" + (lacuna::testing::shared_folder() / "data/video-fight-clips").string());
  EXPECT_EQ(set->modality(), "video");
  EXPECT_EQ(set->size(), 240);
  EXPECT_THAT(set->classes(), ElementsAre("noFight", "fight"));
  VideoConfig config;
  config.step = 2;
  const auto measured = measure_films(*set, 8, 3, 1, {});
  Loader loader(set, VideoTransform(config, 8, {32, 32}, 3, measured, 1 << 24),
                {.batch_size = 4, .workers = 1});
  const auto batch = loader.next();
  EXPECT_EQ(batch.video.sizes(), (std::vector<int64_t>{4, 3, 8, 32, 32}));
  EXPECT_LT(std::abs(batch.video.mean().item<double>()), 1.5);
}

// The class is the motion: looks are drawn before it and from the same numbers.
TEST(SyntheticMoving, OnlyTheMotionDiffers) {
  const auto set = open_dataset("synthetic:moving?count=16&size=24&frames=6");
  EXPECT_EQ(set->modality(), "video");
  EXPECT_EQ(set->classes(), motion_names());
  std::set<int64_t> labels;
  for (int64_t i = 0; i < 8; ++i) labels.insert(set->label(i));
  EXPECT_EQ(labels.size(), 8U);
  const auto count = static_cast<int64_t>(motion_names().size());
  for (int64_t label = 0; label < count; ++label) {
    const auto video = draw_moving({24, 24}, 6, label, Stream(3, "film"));
    ASSERT_EQ(video.frames.size(), 6U);
    bool moves = false;
    for (size_t t = 1; t < 6; ++t) moves = moves || !video.frames[t].pixels.equal(video.frames[0].pixels);
    EXPECT_EQ(moves, motion_names()[static_cast<size_t>(label)] != "still");
  }
}

}  // namespace
}  // namespace lacuna::data
