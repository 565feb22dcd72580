#pragma once
// Picture transforms with torchvision's semantics, from an encoded record to a normalised float tensor.

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/core/draws.h"
#include "lacuna/data/augment.h"
#include "lacuna/data/dataset.h"
#include "lacuna/data/input.h"
#include "lacuna/data/resize.h"
#include "lacuna/io/image.h"

namespace lacuna::data {

/// torchvision.transforms.RandomResizedCrop.get_params: 10 tries, then the central fallback.
io::Rect random_resized_crop(Size2 image, double scale_min, double scale_max, double ratio_min,
                             double ratio_max, Stream& random);
/// Resize and centre crop of evaluation (torchvision Resize + CenterCrop). The picture is resized as a whole,
/// keeping its shape, until it covers size / crop_share (rounded to whole pixels): for a square size,
/// Resize(int) of the shorter side.
struct CenterCrop {
  Size2 resized;  ///< size of the whole picture after the resize
  io::Rect crop;  ///< within the resized picture
};
/// Of a picture of size `image`, for an input of `size`.
CenterCrop resize_center_crop(Size2 image, Size2 size, double crop_share);

/// The channels that count: 1 for grey + alpha, 3 for RGBA, else as stored.
int64_t main_channels(int64_t stored);

/// Converts to `channels`: RGB -> grey by ITU-R 601 as Pillow's "L", grey -> RGB by repetition, alpha dropped
/// when 1 or 3 are asked for. Error when the counts can't be reconciled (5 bands into 3).
io::Image to_channels(io::Image image, int64_t channels, const std::string& name);

/// How a record becomes input. Keys `augment.*`.
struct AugmentConfig {
  std::string crop = "random_resized";  ///< random_resized | center | resize
  std::vector<double> scale{0.2, 1.0};
  std::vector<double> ratio{0.75, 1.3333333333333333};
  double flip = 0.5;
  double crop_share = 0.875;
  std::string interpolation = "bicubic";  ///< bilinear | bicubic | random
  bool scaled_decode = true;
  std::string auto_augment;  ///< RandAugmentConfig::parse; empty: off
  double color_jitter = 0;
  double erase_prob = 0;
  std::string erase_mode = "pixel";  ///< const | rand | pixel
  int64_t erase_count = 1;
  void fields(Fields& f);
};

/// Mean and std for each channel, in units of [0, 1] (a picture divided by its peak).
struct Normalization {
  std::vector<double> mean, std;
};

/// Record -> [C, H, W] float32: cropped and resized, flipped, RandAugment or colour jitter, normalised,
/// erased; in this order, as timm's create_transform.
class ImageTransform final : public Transform {
 public:
  /// `size`, `channels`: of the result. Error when an interpolation or the normalisation's length does not
  /// fit.
  ImageTransform(AugmentConfig config, Size2 size, int64_t channels, Normalization normalization,
                 io::ImageLimits limits = {});
  /// The same settings for evaluation: no randomness, resize and centre crop.
  ImageTransform for_evaluation() const;
  std::shared_ptr<const Transform> evaluating() const override {
    return std::make_shared<const ImageTransform>(for_evaluation());
  }
  /// Rows are written straight into the batch's tensor.
  std::unique_ptr<Filling> begin(int64_t rows) const override;
  /// `out`: C*H*W floats. `random` belongs to this sample of this epoch.
  void operator()(const Record& record, Stream random, float* out) const;
  Size2 size() const { return size_; }
  int64_t channels() const { return channels_; }
  const Normalization& normalization() const { return normalization_; }

 private:
  /// What is cut out and how it is resized, within `image`.
  Resampling plan(const io::Image& image, const io::Rect& crop, Interpolation interpolation) const;
  /// RandAugment or colour jitter is on; then pictures are resized as Pillow does, to the bit.
  bool augments_levels() const { return rand_augment_ || config_.color_jitter > 0; }
  /// The record's picture, or what `crop` needs of it; `crop` is drawn and lies in the returned picture.
  io::Image read(const Record& record, io::Rect& crop, Stream& random) const;
  // Resized, flipped, RandAugment or colour jitter, normalised.
  void finish_levels(const at::Tensor& pixels_HWC, const Resampling& what, bool flip, Stream& random,
                     float* out_CHW) const;
  void finish_floats(const io::Image& image, const Resampling& what, bool flip, Stream& random,
                     float* out_CHW) const;

  AugmentConfig config_;
  std::optional<Interpolation> interpolation_;  ///< nullopt: drawn for each picture
  std::optional<RandAugment> rand_augment_;
  Size2 size_;
  int64_t channels_;
  Normalization normalization_;
  LevelScale level_scale_;  ///< the normalisation of 8-bit pictures
  io::ImageLimits limits_;
};

}  // namespace lacuna::data
