#pragma once
// How well each point's, or pixel's, class is told.

#include <torch/types.h>

#include <string>
#include <vector>

#include "lacuna/core/config.h"

namespace lacuna::eval {

using torch::Tensor;

/// [C, C] int64: row = true class, column = the one that was said. truth, said [N] int64; things whose truth
/// is negative do not count.
Tensor confusion_matrix(const Tensor& truth, const Tensor& said, int64_t classes);

/// Of a confusion matrix. iou_NAME = right / (true or said to be NAME) for each class that occurs in either
/// (Jaccard's index); miou: their mean; accuracy; mean_accuracy: mean over the true classes of the share that
/// is right; chance and chance_miou: of who says the most frequent class of everything. Error when nothing
/// counts.
Json segmentation_metrics(const Tensor& confusion, const std::vector<std::string>& names);

/// Weights of classes in a loss: inverse to how often each occurs, 1 on average over the things; 0 for
/// classes that do not occur. counts [C] -> [C] float32.
Tensor inverse_frequency(const Tensor& counts);

}  // namespace lacuna::eval
