#pragma once
// Augmentations of supervised training beside crop and flip, with timm's and torchvision's semantics:
// RandAugment (Cubuk et al., arXiv 1909.13719, in timm's variant), colour jitter, random erasing (Zhong et
// al., arXiv 1708.04896).

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/core/draws.h"
#include "lacuna/data/pixel_ops.h"
#include "lacuna/io/image.h"

namespace lacuna::data {

/// timm's "rand-m9-mstd0.5-inc1": parts in any order, each at most once.
struct RandAugmentConfig {
  int64_t layers = 2;         ///< n: operations drawn for a picture, with replacement
  double magnitude = 10;      ///< m: mean severity
  double magnitude_std = 0;   ///< mstd: of a normal; above 100 or "inf": uniform in [0, magnitude]
  double magnitude_max = 10;  ///< mmax: severities are cut off here
  double prob = 0.5;          ///< p: of each operation drawn being applied
  bool increasing = false;    ///< inc1: operations that all grow with the magnitude
  /// Error: another policy (augmix, original, ...), an unknown part (timm's w and t among them), a bad
  /// number.
  static RandAugmentConfig parse(const std::string& text);
};

/// The operations that RandAugment draws from, in timm's order.
const std::vector<std::string>& rand_augment_ops(bool increasing);
/// timm's LEVEL_TO_ARG: the argument of an operation at `level` (0 .. 10: none .. full); `negate` counts for
/// those whose direction is drawn. 0 for operations without one. TranslateXRel, TranslateYRel: share of the
/// side.
double level_argument(const std::string& op, double level, bool negate);

/// Colour operations are Pillow's, on 8-bit grey or RGB pictures. Others (16-bit, float, more bands) take the
/// geometric ones alone; a colour operation drawn for them changes nothing.
class RandAugment {
 public:
  /// `interpolation`: nullopt draws bilinear or bicubic for each operation. `mean`: each channel's mean in
  /// [0, 1], which fills what comes from outside.
  RandAugment(RandAugmentConfig config, std::optional<Interpolation> interpolation, std::vector<double> mean);
  void operator()(Levels& picture, Stream& random) const;
  void operator()(Pixels<float>& picture, float peak, Stream& random) const;

 private:
  /// `look(op, argument)` applies a colour operation.
  template <class T, class Look>
  void apply(Pixels<T>& picture, Stream& random, const std::vector<T>& fill, Look look) const;

  RandAugmentConfig config_;
  std::optional<Interpolation> interpolation_;
  std::vector<double> mean_;
};

/// Bilinear or bicubic, evenly: timm's "random".
Interpolation draw_interpolation(Stream& random);

/// torchvision.transforms.ColorJitter(strength, strength, strength): brightness, contrast and saturation,
/// each by a factor from [max(0, 1 - strength), 1 + strength], in an order that is drawn. 1 or 3 channels.
void color_jitter(Levels& picture, double strength, Stream& random);

/// timm's RandomErasing of a normalised picture: with probability `prob`, 1 .. `count` boxes (as many as
/// drawn) of 2 % to a third of the area divided by their number, height / width log-uniform in [0.3, 1 /
/// 0.3].
struct RandomErasing {
  double prob = 0;
  std::string mode = "pixel";  ///< const: 0; rand: one N(0, 1) for each channel; pixel: N(0, 1) everywhere
  int64_t count = 1;
  /// `picture`: [channels, size.h, size.w].
  void operator()(float* picture, int64_t channels, Size2 size, Stream& random) const;
  /// One of `boxes`; empty when none of ten draws fits.
  static io::Rect draw_box(Size2 size, int64_t boxes, Stream& random);
};

}  // namespace lacuna::data
