#pragma once
// Features of a frozen network as targets: DINO's ViT (Caron et al., ICCV 2021) or CLIP's (Radford et al.,
// ICML 2021).

#include <torch/types.h>

#include <memory>
#include <string>

#include "lacuna/core/config.h"

namespace lacuna::target {

/// A network that is only asked.
class Teacher {
 public:
  virtual ~Teacher() = default;
  /// image [B, 3, H, W] -> [B, L, dim()]: a feature for each patch in raster order, without gradient.
  virtual torch::Tensor forward(const torch::Tensor& image) const = 0;
  virtual int64_t dim() const = 0;
  virtual void to(torch::Device device) = 0;
};

/// "dino": patch tokens of a plain ViT behind its last norm, names as timm's. "clip": patch tokens of
/// OpenAI's visual tower behind ln_post and projection, names with or without "visual." in front. Sizes are
/// read off the tensors; heads are 64 wide, as in every released one. What else the file holds (a head, the
/// text tower) is passed over. Error when the file can't be read, is another network, or cuts a picture of
/// `img_size` into another grid than `patch_size` does.
std::unique_ptr<Teacher> open_teacher(const std::string& kind, const std::string& file, Size2 img_size,
                                      Size2 patch_size);

}  // namespace lacuna::target
