#pragma once
// Keys `probe.*` of the protocols that look at a signal's frames and at all layers of its network.

#include <cstdint>
#include <string>
#include <vector>

#include "lacuna/core/config.h"

namespace lacuna::eval {

/// Keys `probe.*`.
struct ProbeConfig {
  std::vector<int64_t> layers;  ///< 0 = the input of the first block; empty: all
  int64_t epochs = 100, batch_size = 32, width = 256;
  std::vector<double> lr{1e-3, 1e-2};
  std::string target = "logmel";
  double ridge = 1e-3;
  int64_t clusters = 100, max_frames = 200000;
  std::string frame_labels;
  double label_rate = 100;
  int64_t beam = 1;
  void fields(Fields& f);
};

}  // namespace lacuna::eval
