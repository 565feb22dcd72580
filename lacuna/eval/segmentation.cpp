#include "lacuna/eval/segmentation.h"

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna::eval {

Tensor confusion_matrix(const Tensor& truth, const Tensor& said, int64_t classes) {
  const auto counted = truth.ge(0).nonzero().squeeze(1);
  const auto cell = truth.index_select(0, counted) * classes + said.index_select(0, counted);
  return torch::bincount(cell, {}, classes * classes).view({classes, classes});
}

namespace {

double mean_over(const Tensor& values, const Tensor& those) {
  return values.masked_select(those).mean().item<double>();
}

}  // namespace

Json segmentation_metrics(const Tensor& confusion, const std::vector<std::string>& names) {
  const auto counts = confusion.to(torch::kDouble);
  const auto right = counts.diagonal(), is = counts.sum(1), said = counts.sum(0);
  const auto either = is + said - right;
  const double all = is.sum().item<double>();
  if (all == 0) fail("segmentation", "no point has a label", "give labelled clouds");
  const auto iou = right / either.clamp_min(1);
  Json out = {{"miou", mean_over(iou, either.gt(0))},
              {"accuracy", right.sum().item<double>() / all},
              {"mean_accuracy", mean_over(right / is.clamp_min(1), is.gt(0))},
              {"chance", is.max().item<double>() / all},
              {"chance_miou", is.max().item<double>() / all / is.gt(0).sum().item<double>()}};
  for (int64_t c = 0; c < either.numel(); ++c)
    if (either[c].item<double>() > 0) out["iou_" + names.at(static_cast<size_t>(c))] = iou[c].item<double>();
  return out;
}

Tensor inverse_frequency(const Tensor& counts) {
  const auto there = counts.gt(0).to(torch::kDouble);
  const auto share = counts.to(torch::kDouble) / counts.sum();
  return (there / share.clamp_min(1e-12) / there.sum()).to(torch::kFloat);
}

}  // namespace lacuna::eval
