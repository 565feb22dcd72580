#include "lacuna/data/video.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cctype>
#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/data/folder.h"

namespace lacuna::data {

namespace {

class VideoFilling final : public Filling {
 public:
  VideoFilling(const VideoTransform& transform, int64_t rows) : transform_(transform) {
    auto shape = transform.shape();
    shape.insert(shape.begin(), rows);
    video_ = at::empty(shape, at::kFloat);
  }
  void fill(int64_t row, const Record& record, Stream random) override {
    transform_(record, random, video_.mutable_data_ptr<float>() + row * video_.stride(0));
  }
  Batch finish(const std::vector<int64_t>& rows) override {
    Batch batch;
    batch.video =
        std::ssize(rows) == video_.size(0) ? video_ : video_.index_select(0, at::tensor(rows, at::kLong));
    return batch;
  }

 private:
  const VideoTransform& transform_;
  at::Tensor video_;
};

void check_range(const char* key, const std::vector<double>& range) {
  if (range.size() != 2 || !(range[0] > 0) || range[0] > range[1])
    fail(str("video.", key), "is not a range", "give two positive values, the smaller first");
}

/// Where crop `crop` of `crops` along the longer side begins, of `room` possible places.
int64_t crop_start(int64_t room, int64_t crop, int64_t crops) {
  if (crops == 1) return room / 2;
  return static_cast<int64_t>(
      std::nearbyint(static_cast<double>(room) * static_cast<double>(crop) / static_cast<double>(crops - 1)));
}

const FolderKind kFilms{"video",        "video", "film", "mp4, webm, mkv, mov, avi, gif", is_film_extension,
                        /*mapped=*/true};

const Register<DatasetScheme> registered{
    "video",
    {"video:DIR?label_field=N",
     "films (MP4, WebM, AVI, MOV, animated GIF, ...) in class folders or not; train/, val/, test/ are "
     "splits; "
     "label_field: the class is a field of the name",
     [](Uri& uri) { return open_folder(uri, kFilms, take_label_field(uri)); }, folder_splits}};

}  // namespace

void VideoConfig::fields(Fields& f) {
  f("step", step, "frames of the film for one frame of the clip").range(1, 1000);
  f("fps", fps, "frames of a clip in a second, whatever the film's rate; 0: by step").range(0, 1000);
  f("crop", crop,
    "how frames are cut to size in training, all of a clip alike: random_resized, center or resize")
      .choices({"random_resized", "center", "resize"});
  f("scale", scale, "share of the area that a random crop covers: smallest, largest").range(0, 1);
  f("ratio", ratio, "width / height of a random crop: smallest, largest").range(0.01, 100);
  f("flip", flip, "chance of a left-right flip").range(0, 1);
  f("crop_share", crop_share, "share of the shorter side that a crop of evaluation keeps").range(0.05, 1);
  f("interpolation", interpolation, "of resizing, antialiased").choices({"bilinear", "bicubic"});
  f("eval_clips", eval_clips, "clips of a film over which evaluations average").range(1, 64);
  f("eval_crops", eval_crops, "crops of a clip over which evaluations average, along the longer side")
      .range(1, 16);
  f("max_frames", max_frames, "films with more frames are refused").range(1);
}

std::vector<int64_t> clip_frames(int64_t film_frames, const ClipSize& size, int64_t clip, int64_t clips,
                                 Stream* random) {
  const int64_t part = std::max<int64_t>(1, film_frames / clips), length = size.frames * size.step;
  const int64_t first = std::min(clip * part, film_frames - 1);
  std::vector<int64_t> out;
  if (part > length) {
    // V-JEPA draws the end from [length, part).
    const int64_t start = random ? random->below(part - length) : 0;
    const double spacing =
        size.frames > 1 ? static_cast<double>(length) / static_cast<double>(size.frames - 1) : 0;
    for (int64_t i = 0; i < size.frames; ++i) {
      const auto at = static_cast<int64_t>(spacing * static_cast<double>(i));
      out.push_back(first + start + std::min(at, length - 1));
    }
    return out;
  }
  const int64_t count = std::min(size.frames, part / size.step);
  const double spacing = count > 1 ? static_cast<double>(part) / static_cast<double>(count - 1) : 0;
  for (int64_t i = 0; i < size.frames; ++i) {
    const auto at = i < count ? static_cast<int64_t>(spacing * static_cast<double>(i)) : part - 1;
    out.push_back(first + std::min(at, part - 1));
  }
  return out;
}

int64_t frame_step(const VideoConfig& config, double rate) {
  if (config.fps <= 0) return config.step;
  return std::max<int64_t>(1, static_cast<int64_t>(std::ceil(rate / config.fps - 1e-6)));
}

VideoTransform::VideoTransform(VideoConfig config, int64_t frames, Size2 size, int64_t channels,
                               Normalization normalization, int64_t max_pixels)
    : config_(std::move(config)),
      frames_(frames),
      size_(size),
      channels_(channels),
      normalization_(std::move(normalization)),
      limits_{max_pixels, config_.max_frames},
      interpolation_(config_.interpolation == "bicubic" ? Interpolation::kBicubic
                                                        : Interpolation::kBilinear) {
  check_range("scale", config_.scale);
  check_range("ratio", config_.ratio);
  const auto expected = static_cast<size_t>(channels);
  if (normalization_.mean.size() != expected || normalization_.std.size() != expected)
    fail("data.mean, data.std",
         str(normalization_.mean.size(), " and ", normalization_.std.size(), " values for ", channels,
             " channels"),
         "give one value for each channel, or leave both empty to have them measured");
}

std::unique_ptr<Filling> VideoTransform::begin(int64_t rows) const {
  return std::make_unique<VideoFilling>(*this, rows);
}

std::shared_ptr<VideoTransform> VideoTransform::view(const View& view) const {
  auto out = std::make_shared<VideoTransform>(*this);
  out->view_ = view;
  return out;
}

std::shared_ptr<const Transform> VideoTransform::evaluating() const { return view({}); }

std::vector<std::shared_ptr<const Transform>> VideoTransform::views() const {
  std::vector<std::shared_ptr<const Transform>> out;
  for (int64_t clip = 0; clip < config_.eval_clips; ++clip)
    for (int64_t crop = 0; crop < config_.eval_crops; ++crop)
      out.push_back(view({clip, config_.eval_clips, crop, config_.eval_crops}));
  return out;
}

std::vector<int64_t> VideoTransform::shape() const { return {channels_, frames_, size_.h, size_.w}; }

std::vector<io::Image> VideoTransform::choose_frames(const Record& record, Stream& random) const {
  const auto chosen = [&](int64_t film_frames, double rate) {
    const ClipSize size{frames_, frame_step(config_, rate)};
    return view_ ? clip_frames(film_frames, size, view_->clip, view_->clips, nullptr)
                 : clip_frames(film_frames, size, 0, 1, &random);
  };
  if (const auto* video = std::get_if<io::Video>(&record.content)) {
    std::vector<io::Image> out;
    for (const int64_t number : chosen(std::ssize(video->frames), video->rate))
      out.push_back(video->frames[static_cast<size_t>(number)]);
    return out;
  }
  io::VideoReader reader(encoded_bytes(record), record.key, limits_);
  return reader.read(chosen(reader.info().frames, reader.info().rate));
}

Resampling VideoTransform::plan(Size2 stored, Stream& random) const {
  const io::Rect whole{0, 0, stored.h, stored.w}, target{0, 0, size_.h, size_.w};
  if (config_.crop == "resize") return {whole, size_, target, interpolation_};
  if (config_.crop == "random_resized" && !view_)
    return {random_resized_crop(stored, config_.scale[0], config_.scale[1], config_.ratio[0],
                                config_.ratio[1], random),
            size_, target, interpolation_};
  auto center = resize_center_crop(stored, size_, config_.crop_share);
  if (view_ && view_->crops > 1) {
    const int64_t down = center.resized.h - size_.h, across = center.resized.w - size_.w;
    if (across >= down)
      center.crop.left = crop_start(across, view_->crop, view_->crops);
    else
      center.crop.top = crop_start(down, view_->crop, view_->crops);
  }
  return {whole, center.resized, center.crop, interpolation_};
}

void VideoTransform::operator()(const Record& record, Stream random, float* out) const {
  const auto frames = choose_frames(record, random);
  const auto resampling = plan({frames[0].height(), frames[0].width()}, random);
  const bool flip = !view_ && random.uniform() < config_.flip;
  const int64_t plane = size_.area();
  const at::Tensor* before = nullptr;
  for (int64_t t = 0; t < frames_; ++t) {
    const auto& frame = frames[static_cast<size_t>(t)];
    if (before && frame.pixels.is_same(*before)) {  // a short film repeats its last frame
      for (int64_t c = 0; c < channels_; ++c)
        std::copy_n(out + (c * frames_ + t - 1) * plane, plane, out + (c * frames_ + t) * plane);
      continue;
    }
    before = &frame.pixels;
    const auto pixels = resample(to_channels(frame, channels_, record.key).pixels, resampling);
    for (int64_t c = 0; c < channels_; ++c) {
      const double std = normalization_.std[static_cast<size_t>(c)];
      const auto scale = static_cast<float>(1 / (frame.peak * std));
      const auto shift = static_cast<float>(-normalization_.mean[static_cast<size_t>(c)] / std);
      float* to = out + (c * frames_ + t) * plane;
      const float* from = pixels.data() + c;
      for (int64_t y = 0; y < size_.h; ++y, to += size_.w)
        for (int64_t x = 0; x < size_.w; ++x, from += channels_)
          to[flip ? size_.w - 1 - x : x] = *from * scale + shift;
    }
  }
}

bool is_film_extension(std::string extension) {
  if (extension.starts_with(".")) extension.erase(0, 1);
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  for (const char* known : {"mp4", "m4v", "mov", "webm", "mkv", "avi", "mpg", "mpeg", "gif", "y4m"})
    if (extension == known) return true;
  return false;
}

}  // namespace lacuna::data
