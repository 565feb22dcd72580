#pragma once
// Watches a run on fixed records: health checks and preview panels, the same ones from step 0 to the end.

#include <memory>
#include <string>
#include <vector>

#include "lacuna/data/dataset.h"
#include "lacuna/data/input.h"
#include "lacuna/train/config.h"
#include "lacuna/train/health.h"
#include "lacuna/train/modality.h"

namespace lacuna::train {

/// Health checks and previews of one run, always on the same records.
class Monitor {
 public:
  /// Reads them once: `health.samples` records of `training` (or of health.probe) as the bank, half
  /// as many of its test split, when it has one, as the queries; else the records that follow.
  Monitor(const RunConfig& config, const std::shared_ptr<data::Dataset>& training,
          const data::Transform& transform, torch::Device device);

  /// Skill, spread and k-NN of the method as it is now. Leaves its training mode as it was.
  Health check(Method& method, int64_t step) const;
  /// The panel of the fixed records with the fixed masks, [H, W, 3] uint8.
  Tensor panel(Method& method) const;
  /// The same in motion; undefined frames where the modality has none.
  Modality::Animation animation(Method& method) const;
  bool labelled() const { return classes_ > 1; }

 private:
  struct Records {
    std::vector<Batch> batches;
    Tensor label;
  };
  Records read(const std::shared_ptr<data::Dataset>& dataset, std::vector<int64_t> records) const;
  Tensor features(Method& method, const Records& records) const;
  Preview preview(Method& method, int64_t count) const;

  const RunConfig& config_;
  std::shared_ptr<const data::Transform> transform_;
  torch::Device device_;
  Records bank_, query_;
  int64_t classes_ = 0;
  double chance_ = 0;
};

}  // namespace lacuna::train
