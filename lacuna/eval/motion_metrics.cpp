#include "lacuna/eval/motion_metrics.h"

#include <ATen/ATen.h>

#include "lacuna/core/error.h"

namespace lacuna::eval {

namespace {

/// Of futures [K, F, D] to truths [M, F, D]: [M, K, F].
at::Tensor frame_distances(const at::Tensor& futures, const at::Tensor& truths) {
  return at::linalg_vector_norm(truths.unsqueeze(1) - futures, 2, at::OptionalIntArrayRef({-1}));
}

/// Mean over all pairs of K futures [K, F, D].
at::Tensor mean_pair_distance(const at::Tensor& futures) {
  if (futures.size(0) < 2) return at::zeros({}, futures.options());
  return at::pdist(futures.flatten(1)).mean();
}

}  // namespace

MotionMetrics motion_metrics(const at::Tensor& windows, const at::Tensor& predicted, double threshold) {
  const int64_t N = windows.size(0), F = predicted.size(2);
  LACUNA_ASSERT(predicted.size(1) == N && windows.size(1) > F);
  const auto truth = windows.slice(1, windows.size(1) - F);
  const auto last_pose = windows.select(1, windows.size(1) - F - 1).to(at::kDouble);
  std::vector<at::Tensor> apd, ade, fde, mmade, mmfde, count;
  for (int64_t n = 0; n < N; ++n) {
    const auto futures = predicted.select(1, n);
    const auto gap = at::linalg_vector_norm(last_pose - last_pose[n], 2, at::OptionalIntArrayRef({-1}));
    const auto alike = (gap < threshold).nonzero().squeeze(1);
    const auto own = frame_distances(futures, truth.slice(0, n, n + 1))[0];   // [K, F]
    const auto all = frame_distances(futures, truth.index_select(0, alike));  // [M, K, F]
    apd.push_back(mean_pair_distance(futures));
    ade.push_back(own.mean(1).min());
    fde.push_back(own.select(1, F - 1).min());
    mmade.push_back(all.mean(2).amin(1).mean());
    mmfde.push_back(all.select(2, F - 1).amin(1).mean());
    count.push_back(at::scalar_tensor(alike.numel(), at::kLong));
  }
  return {at::stack(apd),   at::stack(ade),   at::stack(fde),
          at::stack(mmade), at::stack(mmfde), at::stack(count)};
}

}  // namespace lacuna::eval
