#pragma once
// Whether what a network sees in parts of a picture adds up (Balasubramanian & Feizi, ICCV 2023).

#include <torch/types.h>

namespace lacuna::eval {

/// Of each picture, [B].
struct Linearity {
  torch::Tensor distance;  ///< |sum of the parts' features - features of all parts| / |features of all parts|
  torch::Tensor cosine;    ///< between the two
  torch::Tensor magnitude;  ///< mean length of a part's features
};
/// parts [B, P, D]: features of each part alone; together [B, D]: of all of them.
Linearity linearity(const torch::Tensor& parts, const torch::Tensor& together);

}  // namespace lacuna::eval
