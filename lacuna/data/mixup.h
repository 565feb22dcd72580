#pragma once
// Mixing the samples of a batch: mixup (Zhang et al., ICLR 2018, arXiv 1710.09412) and CutMix (Yun et al.,
// ICCV 2019, arXiv 1905.04899), with the names and the numbers of timm.data.Mixup.

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/core/draws.h"
#include "lacuna/data/batch.h"
#include "lacuna/io/image.h"

namespace lacuna::data {

struct MixupConfig {
  double mixup_alpha = 0.8, cutmix_alpha = 1.0;  ///< lam ~ Beta(alpha, alpha); 0: off
  std::vector<double> cutmix_minmax;  ///< a cutmix box's sides, as shares of the picture's; empty: by lam
  double prob = 1.0, switch_prob = 0.5;
  std::string mode = "batch";  ///< batch | pair | elem
  double label_smoothing = 0.1;
  void fields(Fields& f);
  bool mixes() const { return prob > 0 && (mixup_alpha > 0 || cutmix_alpha > 0 || !cutmix_minmax.empty()); }
};

/// What a sample keeps of itself; the rest comes from its partner, the sample as far from the batch's other
/// end: row i and row B-1-i.
struct Blend {
  double lam = 1;               ///< weight of the sample's own pixels (mixup) and label
  std::optional<io::Rect> box;  ///< cutmix: the pixels that are the partner's; lam is the area left
};
/// The box of cutmix: int(side * sqrt(1 - lam)) pixels around (cy, cx), cut off at the border, and lam as the
/// area that is left then. 0 <= lam <= 1; the centre lies within the picture.
Blend cutmix_blend(Size2 image, double lam, int64_t cy, int64_t cx);

struct Mixed {
  at::Tensor image;   ///< [B, C, H, W]
  at::Tensor target;  ///< [B, classes] float32; rows sum to 1
};
/// One blend for all rows, or one for each. Labels [B], 0 .. classes-1, on any device. Smoothed labels are
/// s / classes off and 1 - s + s / classes on the class.
Mixed mix(const at::Tensor& image, const at::Tensor& label, int64_t classes, double label_smoothing,
          const std::vector<Blend>& blends);

/// Error naming the first record whose label is missing or not in 0 .. classes-1.
void require_labels(const Batch& batch, int64_t classes);

class Mixup {
 public:
  /// Error when the config can't be drawn from.
  Mixup(MixupConfig config, int64_t classes);
  /// The batch mixed; only smoothed labels when nothing mixes. `random` belongs to this step of this process.
  /// Labels are checked (require_labels) and best left on the CPU.
  Mixed operator()(const Batch& batch, Stream random) const;
  /// One blend (mode batch) or one for each of `rows`.
  std::vector<Blend> draw(int64_t rows, Size2 image, Stream& random) const;

 private:
  Blend draw_one(Size2 image, Stream& random) const;

  MixupConfig config_;
  int64_t classes_;
};

/// Beta(a, b) for any a, b > 0.
double draw_beta(double a, double b, Stream& random);

}  // namespace lacuna::data
