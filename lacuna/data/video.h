#pragma once
// Films: which frames make a clip, their common crop, and the clips and crops of an evaluation.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/data/dataset.h"
#include "lacuna/data/input.h"
#include "lacuna/data/transform.h"

namespace lacuna::data {

/// Keys `video.*`: how a record becomes a clip (V-JEPA's VideoDataset and transforms).
struct VideoConfig {
  int64_t step = 4;
  double fps = 0;
  std::string crop = "random_resized";
  std::vector<double> scale{0.3, 1.0}, ratio{0.75, 1.35};
  double flip = 0.5;
  double crop_share = 0.875;
  std::string interpolation = "bilinear";
  int64_t eval_clips = 1, eval_crops = 1;
  int64_t max_frames = int64_t{1} << 22;
  void fields(Fields& f);
};

/// What a clip is cut from, and how long it is.
struct ClipSize {
  int64_t frames = 16;  ///< of the clip
  int64_t step = 4;     ///< frames of the film for one of the clip
};
/// Numbers of the frames of clip `clip` of `clips` of a film of `film_frames`. The film is divided evenly; a
/// part longer than the clip's frames * step gives it at a start drawn from `random` (null: its beginning),
/// its numbers evenly spaced and rounded down; a shorter one every step-th frame, then its last frame again.
/// (V-JEPA's loadvideo_decord.)
std::vector<int64_t> clip_frames(int64_t film_frames, const ClipSize& size, int64_t clip, int64_t clips,
                                 Stream* random);
/// The step of a film of `rate` frames a second: `config.step`, or ceil(rate / config.fps) where fps is
/// given.
int64_t frame_step(const VideoConfig& config, double rate);

/// Record -> [C, T, H, W] float32 of batch.video: one crop, one flip for all frames, normalised.
class VideoTransform final : public Transform {
 public:
  /// Error when the normalisation's length, a range or the interpolation does not fit.
  VideoTransform(VideoConfig config, int64_t frames, Size2 size, int64_t channels,
                 Normalization normalization, int64_t max_pixels);
  std::unique_ptr<Filling> begin(int64_t rows) const override;
  /// The first clip of eval_clips, centre crop.
  std::shared_ptr<const Transform> evaluating() const override;
  /// eval_clips x eval_crops views; three crops lie at the ends and the middle of the longer side.
  std::vector<std::shared_ptr<const Transform>> views() const override;
  /// `out`: C*T*H*W floats.
  void operator()(const Record& record, Stream random, float* out) const;
  std::vector<int64_t> shape() const;  ///< C, T, H, W

 private:
  /// One view of an evaluation.
  struct View {
    int64_t clip = 0, clips = 1, crop = 0, crops = 1;
  };
  std::shared_ptr<VideoTransform> view(const View& view) const;
  std::vector<io::Image> choose_frames(const Record& record, Stream& random) const;
  Resampling plan(Size2 stored, Stream& random) const;

  VideoConfig config_;
  int64_t frames_;
  Size2 size_;
  int64_t channels_;
  Normalization normalization_;
  io::VideoLimits limits_;
  Interpolation interpolation_;
  std::optional<View> view_;  ///< nullopt: training
};

/// mp4, m4v, mov, webm, mkv, avi, mpg, mpeg, gif or y4m, in any case; `extension` with or without its dot.
bool is_film_extension(std::string extension);

}  // namespace lacuna::data
