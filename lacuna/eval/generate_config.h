#pragma once
// Keys of sampling from generative methods.

#include <string>
#include <vector>

#include "lacuna/core/config.h"

namespace lacuna::eval {

/// Keys `generate.*`: what `lacuna generate` draws, and what the forecast protocol scores.
struct GenerateConfig {
  int64_t samples = 50;  ///< of each record
  double told = -1;      ///< share of records whose condition the network is told; -1: the model's own
  std::string mode = "predict";
  std::vector<int64_t> joints;  ///< control: without the root
  std::string group;            ///< control: a named group of joints
  double multimodal_threshold = 0.5;
  bool animate = true;
  void fields(Fields& f);
};

}  // namespace lacuna::eval
