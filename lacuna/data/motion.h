#pragma once
// Motions of bodies: sets of recordings, windows of them, and what becomes of a window.

#include <memory>
#include <string>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/data/dataset.h"
#include "lacuna/data/input.h"

namespace lacuna::data {

/// Keys `motion.*`.
struct MotionConfig {
  double rate = 0;               ///< frames a second; 0: as recorded
  std::vector<int64_t> keep;     ///< joints, the root first; empty: all
  std::vector<int64_t> parents;  ///< of the kept joints; filled from the data
  int64_t epoch_samples = 0;     ///< windows of an epoch; 0: as many as fit one behind the other
  double rotate = 0.5, mirror = 0.5;
  void fields(Fields& f);
};

/// The record's motion. Error when it is broken.
io::Motion decode_motion(const Record& record);
/// At another rate, by linear interpolation between frames; the same when the rates are equal or one is
/// unknown.
io::Motion resample(const io::Motion& motion, double rate);
/// The kept joints, and their nearest kept ancestors. Error when one is not there, or the first has a parent
/// among them.
io::Skeleton keep_joints(const io::Skeleton& skeleton, const std::vector<int64_t>& keep);

/// Record -> [frames, J, 3]: a window at a random start (evaluation: the first), resampled, joints kept,
/// relative to the root of its frame; with probability `rotate` turned about the upright axis, with
/// probability `mirror` each of the two level axes flipped (HumanMAC draws these once for a batch).
class MotionTransform final : public Transform {
 public:
  MotionTransform(MotionConfig config, int64_t frames) : config_(std::move(config)), frames_(frames) {}
  std::unique_ptr<Filling> begin(int64_t rows) const override;
  std::shared_ptr<const Transform> evaluating() const override;
  /// Error naming the record when it is shorter than a window.
  at::Tensor operator()(const Record& record, Stream random) const;

 private:
  MotionConfig config_;
  int64_t frames_;
  bool evaluating_ = false;
};

/// Recordings of at least `frames` frames (at config.rate), drawn evenly by class and in turn within it: each
/// epoch has epoch_samples records, which the transform cuts anywhere. Error when none is long enough.
std::shared_ptr<Dataset> motion_samples(std::shared_ptr<Dataset> whole, const MotionConfig& config,
                                        int64_t frames);
/// Every window of `frames` frames that starts at a multiple of `stride`, one a record.
std::shared_ptr<Dataset> motion_windows(std::shared_ptr<Dataset> whole, const MotionConfig& config,
                                        int64_t frames, int64_t stride);

/// bvh, amc or npz, in any case; `extension` with or without its dot.
bool is_motion_extension(std::string extension);

}  // namespace lacuna::data
