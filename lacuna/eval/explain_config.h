#pragma once
// Keys of explaining and of removing parts of pictures.

#include <string>
#include <vector>

#include "lacuna/core/config.h"

namespace lacuna::eval {

/// layer-masking, zero-filling, partial-convolution (the mask runs through the network), token-dropping
/// (ViT), grey, black, smooth-grey, average, red, green, blue (painting).
std::vector<std::string> removal_names();

/// Keys `explain.*`: how a picture is cut up, removed from, and explained.
struct ExplainConfig {
  std::string removal = "layer-masking";
  std::vector<std::string> compare{"layer-masking", "grey", "black"};
  std::string segments = "grid";
  int64_t segment_size = 16;
  double compactness = 10;
  double kernel_size = 4, max_dist = 200, ratio = 0.2;
  std::string order = "random";
  std::vector<double> degrees{0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1};
  int64_t samples = 512;
  double kernel_width = 0.25;
  int64_t num_features = 100000;
  std::string target = "predicted";
  int64_t top_k = 20;
  int64_t parts = 4;
  std::string objects, wordnet;
  std::vector<std::string> synsets;
  void fields(Fields& f);
};

}  // namespace lacuna::eval
