#pragma once
// What frame labels are made of: keys `target.*` of the methods that predict clusters.

#include <string>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/target/kmeans.h"

namespace lacuna::target {

/// Keys `target.*`.
struct TargetConfig {
  std::vector<int64_t> num_classes;  ///< of each label set; empty: follows from the other keys
  std::string source = "mfcc";       ///< mfcc | logmel | random | layers
  std::vector<int64_t> layers{6};    ///< layers: a label set (or `codebooks` of them) for each
  std::string model;  ///< layers: of these weights; empty: of a first iteration, trained before
  int64_t clusters = 100;
  int64_t codebooks = 1;
  double share = 0.1;
  int64_t pool_frames = 300000;
  int64_t inits = 20;
  std::string first_source = "mfcc";
  int64_t first_steps = 250000, first_clusters = 100;
  void fields(Fields& f);
  void resolve(const ConfigTable& table);

  std::vector<int64_t> classes() const { return num_classes; }
  int64_t sets() const;  ///< label sets that the source makes
  KMeansConfig kmeans() const;
  /// Labels a second: 100 from MFCC and log-mel, 50 from layers of 20 ms frames.
  double label_rate(int64_t sample_rate, int64_t stride) const;
};

}  // namespace lacuna::target
