#pragma once
// Point clouds: sets of them, and what becomes of a cloud before a method sees it.

#include <memory>
#include <string>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/data/dataset.h"
#include "lacuna/data/input.h"

namespace lacuna::data {

/// Keys `points.*`. The augmentation's defaults are GeoMAE's on nuScenes.
struct PointsConfig {
  std::vector<std::string> fields_kept;  ///< of a point; filled from the data
  int64_t max = 0;                       ///< most points of a cloud; 0: all
  double rotate = 0.3925;                ///< radians
  std::string axis = "z";                ///< z | any
  std::vector<double> scale{0.95, 1.05};
  double flip_x = 0.5, flip_y = 0.5;
  double jitter = 0;  ///< metres
  void fields(Fields& f);
  /// Error when the numbers contradict each other.
  void check() const;
};

/// The record's cloud. Error when it is none.
io::Points decode_points(const Record& record);

/// Record -> [n, F]: the kept fields of the points whose numbers are all finite. Training: turned about the
/// upright axis by U(-rotate, rotate) (axis any: by a random rotation), scaled by U(scale), x and y mirrored
/// with the probabilities flip_x and flip_y, each coordinate moved by N(0, jitter), in random order. More
/// than `max` points: a random choice of so many (evaluation: evenly spread over the cloud). A batch is as
/// long as its longest cloud.
class PointsTransform final : public Transform {
 public:
  explicit PointsTransform(PointsConfig config) : config_(std::move(config)) {}
  std::unique_ptr<Filling> begin(int64_t rows) const override;
  std::shared_ptr<const Transform> evaluating() const override;
  struct Cloud {
    at::Tensor points;  ///< [n, F] float32
    at::Tensor label;   ///< [n] int64; undefined: none
  };
  /// Error naming the record when it lacks a field.
  Cloud operator()(const Record& record, Stream random) const;

 private:
  PointsConfig config_;
  bool evaluating_ = false;
};

/// Each record is its cloud and those of the `sweeps` - 1 records before it in the same folder, brought into
/// its place by the folder's poses.txt (a line of 12 numbers for each file in the order of names: rows of the
/// 3 x 4 matrix from the sensor to the world, KITTI's odometry form), with a last field "time": seconds
/// before the newest by times.txt beside it (a number a line), else sweeps. Error when there are no poses.
std::shared_ptr<Dataset> aggregated_sweeps(std::shared_ptr<Dataset> single, int64_t sweeps);

/// bin, ply, npy, npz or off, in any case; `extension` with or without its dot.
bool is_points_extension(std::string extension);

}  // namespace lacuna::data
