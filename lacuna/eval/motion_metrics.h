#pragma once
// How good and how varied predicted futures are (HumanMAC, section 4.1; official code utils/metrics.py; first
// of Yuan & Kitani, "DLow", ECCV 2020). N windows, K futures of each, F frames of D values.

#include <ATen/core/Tensor.h>

#include <vector>

namespace lacuna::eval {

/// Each [N] float32, in the units of the data.
struct MotionMetrics {
  at::Tensor apd;       ///< mean distance of two futures (as long vectors); 0 when there is one
  at::Tensor ade;       ///< mean over frames of the distance to the truth, of the nearest future
  at::Tensor fde;       ///< the same of the last frame
  at::Tensor mmade;     ///< ade, averaged over the truths of all windows that begin alike
  at::Tensor mmfde;     ///< fde, likewise
  at::Tensor num_mult;  ///< [N] int64: windows that begin alike, the window itself included
};

/// `windows` [N, T, D]: the whole motions; predicted [K, N, F, D] of their last F frames. Two windows begin
/// alike when their last observed poses are nearer than `threshold` (Euclidean over D).
MotionMetrics motion_metrics(const at::Tensor& windows, const at::Tensor& predicted, double threshold);

}  // namespace lacuna::eval
