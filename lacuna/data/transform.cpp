#include "lacuna/data/transform.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <mutex>

#include "lacuna/core/error.h"

namespace lacuna::data {

namespace {

int64_t rounded(double value) { return static_cast<int64_t>(std::nearbyint(value)); }

io::Rect whole(Size2 size) { return {0, 0, size.h, size.w}; }

/// Every pixel's first `kept` of its channels.
template <class T>
void keep_channels(const at::Tensor& from, at::Tensor& to) {
  const int64_t stored = from.size(2), kept = to.size(2);
  const T* in = from.const_data_ptr<T>();
  T* out = to.mutable_data_ptr<T>();
  for (int64_t i = 0; i < from.size(0) * from.size(1); ++i, in += stored, out += kept)
    std::copy_n(in, kept, out);
}

template <class T>
void repeat_grey(const at::Tensor& from, at::Tensor& to) {
  const int64_t stored = from.size(2), channels = to.size(2);
  const T* in = from.const_data_ptr<T>();
  T* out = to.mutable_data_ptr<T>();
  for (int64_t i = 0; i < from.size(0) * from.size(1); ++i, in += stored, out += channels)
    std::fill_n(out, channels, *in);
}

// ITU-R 601-2; for uint8 in 16-bit fixed point, which gives Pillow's very numbers.
void luma(const at::Tensor& from, at::Tensor& to) {
  const int64_t stored = from.size(2), count = from.size(0) * from.size(1);
  if (from.scalar_type() == at::kByte) {
    const auto* in = from.const_data_ptr<uint8_t>();
    auto* out = to.mutable_data_ptr<uint8_t>();
    for (int64_t i = 0; i < count; ++i, in += stored)
      out[i] = static_cast<uint8_t>((in[0] * 19595 + in[1] * 38470 + in[2] * 7471 + 0x8000) >> 16);
  } else {
    const auto* in = from.const_data_ptr<float>();
    auto* out = to.mutable_data_ptr<float>();
    for (int64_t i = 0; i < count; ++i, in += stored)
      out[i] = 0.299F * in[0] + 0.587F * in[1] + 0.114F * in[2];
  }
}

/// A record's picture, decoded as far as `decode` says when it is still encoded.
template <class Decode>
io::Image image_of(const Record& record, Decode decode) {
  if (const auto* image = std::get_if<io::Image>(&record.content)) return *image;
  return decode(encoded_bytes(record));
}

/// Memory of batches that comes back when its batch goes: large blocks are neither fetched from the kernel
/// nor zeroed for each batch. May be called from several threads at once.
class BatchMemory {
 public:
  static BatchMemory& instance() {
    static auto* const memory = new BatchMemory;  // never gone before the last batch
    return *memory;
  }

  /// float32, not initialised.
  at::Tensor take(at::IntArrayRef shape) {
    at::Tensor block = unused(c10::multiply_integers(shape));
    if (!block.defined()) block = at::empty(shape, at::kFloat);
    void* data = block.mutable_data_ptr();
    return at::from_blob(
        data, shape, [this, block](void*) mutable { give_back(std::move(block)); }, at::kFloat);
  }

 private:
  at::Tensor unused(int64_t count) {
    const std::scoped_lock lock(mutex_);
    const auto fits =
        std::find_if(free_.begin(), free_.end(), [&](const at::Tensor& one) { return one.numel() == count; });
    if (fits == free_.end()) return {};
    auto block = std::move(*fits);
    free_.erase(fits);
    return block;
  }

  // A few: a loader's batches come and go one by one. The oldest goes first, of a size that nobody asks for.
  void give_back(at::Tensor block) {
    constexpr size_t kKept = 4;
    const std::scoped_lock lock(mutex_);
    free_.push_back(std::move(block));
    if (free_.size() > kKept) free_.erase(free_.begin());
  }

  std::mutex mutex_;
  std::vector<at::Tensor> free_;
};

/// Pictures of one size: every row has its place from the beginning.
class ImageFilling final : public Filling {
 public:
  ImageFilling(const ImageTransform& transform, int64_t rows)
      : transform_(transform),
        pixels_(transform.channels() * transform.size().area()),
        image_(BatchMemory::instance().take(
            {rows, transform.channels(), transform.size().h, transform.size().w})) {}

  void fill(int64_t row, const Record& record, Stream random) override {
    transform_(record, random, image_.data_ptr<float>() + row * pixels_);
  }

  Batch finish(const std::vector<int64_t>& rows) override {
    Batch batch;
    batch.image = image_;
    return std::ssize(rows) == image_.size(0) ? batch : batch.select(rows);
  }

 private:
  const ImageTransform& transform_;
  int64_t pixels_;
  at::Tensor image_;
};

std::optional<Interpolation> interpolation_of(const std::string& name) {
  if (name == "random") return std::nullopt;
  return name == "bilinear" ? Interpolation::kBilinear : Interpolation::kBicubic;
}

/// A row of interleaved pixels, mirrored or not.
template <class T>
void copy_row(const T* row, int64_t width, int64_t channels, bool flip, T* out) {
  for (int64_t x = 0; x < width; ++x)
    std::copy_n(row + x * channels, channels, out + (flip ? width - 1 - x : x) * channels);
}

LevelScale level_scale(const Normalization& normalization) {
  constexpr double kPeak = 255;
  LevelScale out;
  for (size_t c = 0; c < normalization.std.size(); ++c) {
    out.scale.push_back(static_cast<float>(1.0 / (kPeak * normalization.std[c])));
    out.shift.push_back(static_cast<float>(-normalization.mean[c] / normalization.std[c]));
  }
  return out;
}

}  // namespace

io::Rect random_resized_crop(Size2 image, double scale_min, double scale_max, double ratio_min,
                             double ratio_max, Stream& random) {
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double area = static_cast<double>(image.area()) * random.uniform(scale_min, scale_max);
    const double ratio = std::exp(random.uniform(std::log(ratio_min), std::log(ratio_max)));
    const int64_t w = rounded(std::sqrt(area * ratio)), h = rounded(std::sqrt(area / ratio));
    if (w <= 0 || h <= 0 || w > image.w || h > image.h) continue;
    const int64_t top = random.below(image.h - h + 1);
    return {top, random.below(image.w - w + 1), h, w};
  }
  Size2 size = image;
  const double ratio = static_cast<double>(image.w) / static_cast<double>(image.h);
  if (ratio < ratio_min) size.h = std::max<int64_t>(1, rounded(static_cast<double>(image.w) / ratio_min));
  if (ratio > ratio_max) size.w = std::max<int64_t>(1, rounded(static_cast<double>(image.h) * ratio_max));
  return {(image.h - size.h) / 2, (image.w - size.w) / 2, size.h, size.w};
}

CenterCrop resize_center_crop(Size2 image, Size2 size, double crop_share) {
  const int64_t h = std::max(size.h, rounded(static_cast<double>(size.h) / crop_share));
  const int64_t w = std::max(size.w, rounded(static_cast<double>(size.w) / crop_share));
  // The side that needs the larger factor gets exactly its length; the other follows, truncated as in
  // torchvision.
  const bool by_height = h * image.w >= w * image.h;
  const Size2 resized =
      by_height ? Size2{h, std::max(w, h * image.w / image.h)} : Size2{std::max(h, w * image.h / image.w), w};
  return {resized,
          {rounded(static_cast<double>(resized.h - size.h) / 2),
           rounded(static_cast<double>(resized.w - size.w) / 2), size.h, size.w}};
}

int64_t main_channels(int64_t stored) {
  if (stored == 2) return 1;
  return stored == 4 ? 3 : stored;
}

io::Image to_channels(io::Image image, int64_t channels, const std::string& name) {
  const int64_t stored = image.channels();
  if (stored == channels) return image;
  const int64_t colours = main_channels(stored);
  if ((colours != 1 && colours != 3) || (channels != 1 && channels != 3))
    fail(name, str("has ", stored, " channels, ", channels, " are asked for"),
         str("set encoder.in_chans=", stored, " or convert the picture"));
  const bool bytes = image.pixels.scalar_type() == at::kByte;
  auto out = at::empty({image.height(), image.width(), channels}, image.pixels.options());
  if (colours == channels)
    bytes ? keep_channels<uint8_t>(image.pixels, out) : keep_channels<float>(image.pixels, out);
  else if (colours == 1)
    bytes ? repeat_grey<uint8_t>(image.pixels, out) : repeat_grey<float>(image.pixels, out);
  else
    luma(image.pixels, out);
  return {out, image.peak};
}

void AugmentConfig::fields(Fields& f) {
  f("crop", crop,
    "how a picture is cut to size in training: random_resized, center or resize (whole, stretched)")
      .choices({"random_resized", "center", "resize"});
  f("scale", scale, "share of the area that a random crop covers: smallest, largest").range(0, 1);
  f("ratio", ratio, "width / height of a random crop: smallest, largest").range(0.01, 100);
  f("flip", flip, "chance of a left-right flip").range(0, 1);
  f("crop_share", crop_share, "share of the side that a centre crop keeps (224 of 256)").range(0.05, 1);
  f("interpolation", interpolation,
    "bilinear or bicubic, both antialiased; random: one of them for each picture")
      .choices({"bilinear", "bicubic", "random"});
  f("scaled_decode", scaled_decode, "decode large JPEGs at 1/2, 1/4 or 1/8 where the crop allows");
  f("auto_augment", auto_augment,
    "RandAugment as timm writes it: rand-m9-mstd0.5-inc1; colours only of 8-bit grey and RGB pictures; "
    "empty: off");
  f("color_jitter", color_jitter,
    "largest change of brightness, contrast and saturation (0.4); 8-bit grey and RGB; idle with auto_augment")
      .range(0, 10);
  f("erase_prob", erase_prob, "chance that a box of the finished picture is erased").range(0, 1);
  f("erase_mode", erase_mode,
    "erased to 0 (const), to one N(0, 1) value for each channel (rand) or pixel (pixel)")
      .choices({"const", "rand", "pixel"});
  f("erase_count", erase_count, "boxes erased: 1 to so many").range(1, 100);
}

ImageTransform::ImageTransform(AugmentConfig config, Size2 size, int64_t channels,
                               Normalization normalization, io::ImageLimits limits)
    : config_(std::move(config)),
      interpolation_(interpolation_of(config_.interpolation)),
      size_(size),
      channels_(channels),
      normalization_(std::move(normalization)),
      limits_(limits) {
  const auto expected = static_cast<size_t>(channels);
  if (normalization_.mean.size() != expected || normalization_.std.size() != expected)
    fail("data.mean, data.std",
         str(normalization_.mean.size(), " and ", normalization_.std.size(), " values for ", channels,
             " channels"),
         "give one value for each channel, or leave both empty to have them measured");
  for (const double std : normalization_.std)
    if (!(std > 0)) fail("data.std", str("a channel has ", std), "give positive values");
  level_scale_ = level_scale(normalization_);
  const auto pair = [](const char* key, const std::vector<double>& range) {
    if (range.size() != 2 || !(range[0] > 0) || range[0] > range[1])
      fail(str("augment.", key), "is not a range", "give two positive values, the smaller first");
  };
  pair("scale", config_.scale);
  pair("ratio", config_.ratio);
  if (!config_.auto_augment.empty())
    rand_augment_.emplace(RandAugmentConfig::parse(config_.auto_augment), interpolation_,
                          normalization_.mean);
  else if (config_.color_jitter > 0 && channels_ != 1 && channels_ != 3)
    fail("augment.color_jitter", str("is for 1 or 3 channels, not ", channels_), "set it to 0");
}

ImageTransform ImageTransform::for_evaluation() const {
  ImageTransform out = *this;
  if (out.config_.crop == "random_resized") out.config_.crop = "center";
  if (!out.interpolation_) out.interpolation_ = Interpolation::kBilinear;
  out.rand_augment_.reset();
  out.config_.flip = out.config_.color_jitter = out.config_.erase_prob = 0;
  return out;
}

std::unique_ptr<Filling> ImageTransform::begin(int64_t rows) const {
  return std::make_unique<ImageFilling>(*this, rows);
}

Resampling ImageTransform::plan(const io::Image& image, const io::Rect& crop,
                                Interpolation interpolation) const {
  const bool pillow = augments_levels();
  if (config_.crop != "center") return {crop, size_, whole(size_), interpolation, pillow};
  const Size2 stored{image.height(), image.width()};
  const CenterCrop center = resize_center_crop(stored, size_, config_.crop_share);
  return {whole(stored), center.resized, center.crop, interpolation, pillow};
}

io::Image ImageTransform::read(const Record& record, io::Rect& crop, Stream& random) const {
  const auto choose_crop = [&](Size2 stored) {
    crop = whole(stored);
    if (config_.crop == "random_resized")
      crop = random_resized_crop(stored, config_.scale[0], config_.scale[1], config_.ratio[0],
                                 config_.ratio[1], random);
  };
  if (config_.crop == "random_resized" && !std::holds_alternative<io::Image>(record.content))
    return image_of(record, [&](io::Bytes bytes) {
      const io::ImageInfo info = io::probe_image(bytes, record.key);
      choose_crop({info.height, info.width});
      // Without a size to aim at nothing is decoded at less than its full size.
      const Size2 target = config_.scaled_decode ? size_ : Size2{info.height, info.width};
      return io::decode_region(bytes, record.key, target, crop, limits_);
    });
  auto image =
      image_of(record, [&](io::Bytes bytes) { return io::decode_image(bytes, record.key, limits_); });
  choose_crop({image.height(), image.width()});
  return image;
}

void ImageTransform::operator()(const Record& record, Stream random, float* out) const {
  io::Rect crop;
  const io::Image image = to_channels(read(record, crop, random), channels_, record.key);
  const Interpolation interpolation = interpolation_ ? *interpolation_ : draw_interpolation(random);
  const bool flip = random.uniform() < config_.flip;
  const Resampling what = plan(image, crop, interpolation);
  if (image.pixels.scalar_type() == at::kByte)
    finish_levels(image.pixels, what, flip, random, out);
  else
    finish_floats(image, what, flip, random, out);
  RandomErasing{config_.erase_prob, config_.erase_mode, config_.erase_count}(out, channels_, size_, random);
}

void ImageTransform::finish_levels(const at::Tensor& pixels, const Resampling& what, bool flip,
                                   Stream& random, float* out) const {
  const RowLoops& loops = row_loops();
  const auto normalize = [&](int64_t y, const uint8_t* row, bool mirror) {
    loops.normalize(row, size_.w, level_scale_, mirror, out + y * size_.w, size_.area());
  };
  if (!augments_levels()) {
    resample_rows(pixels, what, [&](int64_t y, const uint8_t* row) { normalize(y, row, flip); });
    return;
  }
  const int64_t n = size_.w * channels_;
  Levels picture{size_.h, size_.w, channels_, std::vector<uint8_t>(static_cast<size_t>(size_.h * n))};
  resample_rows(pixels, what, [&](int64_t y, const uint8_t* row) {
    copy_row(row, size_.w, channels_, flip, picture.values.data() + y * n);
  });
  rand_augment_ ? (*rand_augment_)(picture, random) : color_jitter(picture, config_.color_jitter, random);
  for (int64_t y = 0; y < size_.h; ++y) normalize(y, picture.values.data() + y * n, false);
}

void ImageTransform::finish_floats(const io::Image& image, const Resampling& what, bool flip, Stream& random,
                                   float* out) const {
  const auto resized = resample(image.pixels, what);
  const int64_t n = size_.w * channels_;
  Pixels<float> picture{size_.h, size_.w, channels_, std::vector<float>(resized.size())};
  for (int64_t y = 0; y < size_.h; ++y)
    copy_row(resized.data() + y * n, size_.w, channels_, flip, picture.values.data() + y * n);
  if (rand_augment_) (*rand_augment_)(picture, image.peak, random);
  for (int64_t c = 0; c < channels_; ++c) {
    const double std = normalization_.std[static_cast<size_t>(c)],
                 mean = normalization_.mean[static_cast<size_t>(c)];
    const auto scale = static_cast<float>(1.0 / (image.peak * std)), shift = static_cast<float>(-mean / std);
    const float* in = picture.values.data() + c;
    for (int64_t i = 0; i < size_.area(); ++i) *out++ = in[i * channels_] * scale + shift;
  }
}

}  // namespace lacuna::data
