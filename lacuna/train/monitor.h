#pragma once
// Watches a run on fixed pictures: health checks and preview panels, the same ones from step 0 to the end.

#include <memory>
#include <string>
#include <vector>

#include "lacuna/data/dataset.h"
#include "lacuna/data/transform.h"
#include "lacuna/train/config.h"
#include "lacuna/train/health.h"

namespace lacuna::train {

/// Health checks and previews of one run, always on the same pictures.
class Monitor {
 public:
  /// Reads its pictures once: `health.samples` records of `training` (or of health.probe) as the bank, half
  /// as many of its test split, when it has one, as the queries; else the records that follow.
  Monitor(const RunConfig& config, const std::shared_ptr<data::Dataset>& training,
          const data::ImageTransform& transform, torch::Device device);

  /// Skill, spread and k-NN of the method as it is now. Leaves its training mode as it was.
  Health check(Method& method, int64_t step) const;
  /// The panel of the fixed pictures with the fixed masks, [H, W, 3] uint8.
  Tensor panel(Method& method) const;
  bool labelled() const { return classes_ > 1; }

 private:
  struct Pictures {
    Tensor image, label;
  };
  Pictures read(const std::shared_ptr<data::Dataset>& dataset, std::vector<int64_t> records) const;
  Tensor features(Method& method, const Tensor& images) const;
  Preview preview(Method& method, int64_t count) const;

  const RunConfig& config_;
  data::ImageTransform transform_;
  torch::Device device_;
  Pictures bank_, query_;
  int64_t classes_ = 0;
  double chance_ = 0;
};

}  // namespace lacuna::train
