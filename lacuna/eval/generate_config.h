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
  bool complete = true;  ///< what was observed replaces what is generated at each step, if the model says so
  std::string mode = "predict";
  std::vector<int64_t> joints;  ///< control: without the root
  std::string group;            ///< control: a named group of joints
  double multimodal_threshold = 0.5;
  bool animate = true;
  std::string prompt;          ///< of a text; empty: the beginning of each record
  int64_t prompt_tokens = 32;  ///< of a record
  int64_t tokens = 64;         ///< at most so many new ones
  double temperature = 0;      ///< 0: always the likeliest
  int64_t top_k = 0;           ///< 0: all
  double top_p = 1;
  void fields(Fields& f);
};

}  // namespace lacuna::eval
