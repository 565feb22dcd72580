#include "lacuna/io/video.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lacuna/core/draws.h"
#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/io/animation.h"
#include "lacuna/io/tar.h"
#include "tests/support/film.h"
#include "tests/support/shared.h"

namespace lacuna::io {
namespace {

using lacuna::testing::FilmKind;
using lacuna::testing::level_of;
using lacuna::testing::write_film;
using ::testing::HasSubstr;

Bytes bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

double level(const Image& image) { return image.pixels.to(torch::kDouble).mean().item<double>(); }

std::string why(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.why();
  }
  return "no error";
}

void expect_frames(const FilmKind& kind, double tolerance) {
  const auto film = write_film(kind);
  VideoReader reader(bytes_of(film), "film");
  EXPECT_EQ(reader.info().frames, kind.frames);
  EXPECT_EQ(reader.info().height, kind.height);
  EXPECT_EQ(reader.info().width, kind.width);
  EXPECT_NEAR(reader.info().rate, kind.rate, 0.01);
  // In any order of calls: forwards, backwards, repeats, between key frames and up to the end.
  for (const std::vector<int64_t>& numbers :
       std::vector<std::vector<int64_t>>{{0, 1, 2}, {7, 7, 8, 13}, {3}, {0, 19}, {18, 19, 19}, {4, 5, 6}}) {
    const auto frames = reader.read(numbers);
    ASSERT_EQ(frames.size(), numbers.size());
    for (size_t i = 0; i < numbers.size(); ++i)
      EXPECT_NEAR(level(frames[i]), level_of(static_cast<int>(numbers[i])), tolerance)
          << kind.ending << " frame " << numbers[i];
  }
}

TEST(Video, FramesByTimeStamp) {
  expect_frames({}, 3);
  expect_frames({.ending = "avi"}, 3);
  expect_frames({.ending = "mkv"}, 3);
  expect_frames({.ending = "mp4", .b_frames = 2}, 3);
  expect_frames({.ending = "avi", .codec = AV_CODEC_ID_MJPEG, .pixels = AV_PIX_FMT_YUVJ420P}, 30);
}

TEST(Video, AnimatedGif) {
  const auto film =
      write_film({.ending = "gif", .codec = AV_CODEC_ID_GIF, .pixels = AV_PIX_FMT_GRAY8, .frames = 6});
  VideoReader reader(bytes_of(film), "film.gif");
  EXPECT_EQ(reader.info().frames, 6);
  const auto frames = reader.read({0, 5});
  EXPECT_NEAR(level(frames[0]), level_of(0), 3);
  EXPECT_NEAR(level(frames[1]), level_of(5), 3);
}

TEST(Video, OneFrame) {
  const auto film = write_film({.frames = 1});
  VideoReader reader(bytes_of(film), "film");
  EXPECT_EQ(reader.info().frames, 1);
  EXPECT_GT(reader.info().rate, 0);
  EXPECT_EQ(reader.read({0, 0, 0}).size(), 3U);
}

TEST(Video, BrokenFilmsAreErrorsThatNameThem) {
  const auto film = write_film({});
  EXPECT_THAT(why([] { VideoReader(Bytes{}, "film"); }), HasSubstr("is empty"));
  const std::string noise = "this is a text, not a film";
  EXPECT_THAT(why([&] { VideoReader(bytes_of(noise), "film"); }), HasSubstr("no film"));
  for (const double share : {0.1, 0.3, 0.5, 0.7, 0.9}) {
    const auto cut = film.substr(0, static_cast<size_t>(share * static_cast<double>(film.size())));
    try {
      VideoReader reader(bytes_of(cut), "film");
      reader.read({0, reader.info().frames - 1});
    } catch (const Error& error) {
      EXPECT_THAT(error.subject(), HasSubstr("film"));
    }
  }
}

// Whatever the bytes: frames or an Error.
TEST(Video, MutatedFilms) {
  const auto film = write_film({.ending = "avi", .frames = 5});
  for (uint64_t round = 0; round < 60; ++round) {
    auto changed = film;
    Stream random(round, "mutate");
    for (int i = 0; i < 8; ++i)
      changed[static_cast<size_t>(random.below(std::ssize(changed)))] = static_cast<char>(random.bits());
    try {
      VideoReader reader(bytes_of(changed), "film", {.max_pixels = 1 << 20, .max_frames = 1000});
      reader.read({0, reader.info().frames / 2});
    } catch (const Error&) {
    }
  }
}

TEST(Video, Limits) {
  const auto film = write_film({});
  EXPECT_THAT(why([&] { VideoReader(bytes_of(film), "film", {.max_pixels = 1000}); }), HasSubstr("pixels"));
  EXPECT_THAT(why([&] { VideoReader(bytes_of(film), "film", {.max_frames = 10}); }), HasSubstr("frames"));
}

TEST(Video, RealClips) {
  LACUNA_NEEDS_SHARED("data/video-fight-clips");
  const TarFile shard(lacuna::testing::shared_folder() / "data/video-fight-clips/clips-test-0000.tar");
  int films = 0;
  for (const auto& member : shard.members()) {
    if (!member.name.ends_with(".mp4") || ++films > 5) continue;
    VideoReader reader(shard.content(member), member.name);
    EXPECT_EQ(reader.info().codec, "h264");
    EXPECT_EQ(std::min(reader.info().height, reader.info().width), 112);
    // A frame reached by seek is the frame reached by decoding all before it.
    const int64_t last = reader.info().frames - 1;
    std::vector<int64_t> all;
    for (int64_t i = 0; i <= last; ++i) all.push_back(i);
    const auto whole = reader.read(all);
    for (const int64_t number : {last / 3, last / 2, last})
      EXPECT_TRUE(reader.read({number})[0].pixels.equal(whole[static_cast<size_t>(number)].pixels))
          << member.name << " frame " << number;
  }
  EXPECT_GT(films, 4);
}

TEST(Animation, EveryFrameIsThere) {
  const auto frames =
      torch::arange(4 * 6 * 5 * 3, torch::kLong).remainder(251).to(torch::kByte).view({4, 6, 5, 3});
  const auto apng = encode_apng(frames, 10);
  // A plain PNG reader shows the first.
  EXPECT_TRUE(decode_image(bytes_of(apng), "moving").pixels.equal(frames[0]));
  VideoReader reader(bytes_of(apng), "moving");  // libavformat reads APNG
  EXPECT_EQ(reader.info().frames, 4);
  const auto read = reader.read({0, 1, 2, 3});
  for (int64_t i = 0; i < 4; ++i) EXPECT_TRUE(read[static_cast<size_t>(i)].pixels.equal(frames[i])) << i;
}

}  // namespace
}  // namespace lacuna::io
