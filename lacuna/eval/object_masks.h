#pragma once
// Which pixels of a picture are the object, for removing it (Balasubramanian & Feizi, ICCV 2023,
// section 4.3).

#include <string>
#include <vector>

#include "lacuna/data/transform.h"

namespace lacuna::eval {

/// A folder of pictures, FOLDER/<key>.png, of the same shape as the data's: where a channel is not 0 is the
/// object (Pixel ImageNet's masks).
class ObjectMasks {
 public:
  /// Masks are resized and cropped as in evaluation, by the nearest pixel, to `size`.
  ObjectMasks(io::fs::path folder, const data::AugmentConfig& augment, Size2 size)
      : folder_(std::move(folder)), augment_(augment), size_(size) {}
  /// [B, 1, H, W] float, 1 = object. Error naming the mask that is missing or can't be read.
  at::Tensor of(const std::vector<std::string>& keys) const;

 private:
  io::fs::path folder_;
  data::AugmentConfig augment_;
  Size2 size_;
};

}  // namespace lacuna::eval
