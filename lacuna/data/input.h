#pragma once
// From records to batches, whatever the modality: what a loader is given besides the data set.

#include <memory>
#include <string>
#include <vector>

#include "lacuna/core/draws.h"
#include "lacuna/data/batch.h"
#include "lacuna/data/dataset.h"

namespace lacuna::data {

/// A batch in the making. Different threads fill different rows.
class Filling {
 public:
  virtual ~Filling() = default;
  /// Row `row` becomes `record`. `random` belongs to this sample of this epoch. Error when the record is
  /// broken.
  virtual void fill(int64_t row, const Record& record, Stream random) = 0;
  /// The inputs of the batch, of `rows` alone (all of them filled, in rising order); called once, last.
  virtual Batch finish(const std::vector<int64_t>& rows) = 0;
};

/// Record -> row of a batch. All const members may be called from several threads at once.
class Transform {
 public:
  virtual ~Transform() = default;
  virtual std::unique_ptr<Filling> begin(int64_t rows) const = 0;
  /// The same settings for evaluation: no randomness, each record as whole as can be.
  virtual std::shared_ptr<const Transform> evaluating() const = 0;
  /// The views of a record over which evaluations average their scores (several clips and crops of a film);
  /// one unless the modality has more.
  virtual std::vector<std::shared_ptr<const Transform>> views() const { return {evaluating()}; }
};

}  // namespace lacuna::data
