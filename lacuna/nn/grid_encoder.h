#pragma once
// Encoders that keep the whole grid of patches: hidden patches become a learned mask token (BEiT, SimMIM).

#include <torch/nn/module.h>
#include <torch/types.h>

#include <string>

#include "lacuna/core/config.h"
#include "lacuna/core/draws.h"

namespace lacuna::nn {

class GridEncoder : public torch::nn::Module {
 public:
  /// First values of all parameters, as the official code draws them.
  virtual void initialize(Draws& draws) = 0;
  /// image [B, C, H, W]; hidden [B, h, w] bool at patch resolution, or undefined when nothing is hidden (an
  /// encoder without a mask token takes only that). -> [B, L', D'] after the last norm, raster order over
  /// out_grid(), class token left out. `draws` null: no drop path.
  virtual torch::Tensor forward(const torch::Tensor& image, const torch::Tensor& hidden,
                                Draws* draws) const = 0;
  /// [B, D'] of the whole picture: "token" (class token) or "avg" (mean over the grid).
  virtual torch::Tensor pooled(const torch::Tensor& image, const std::string& pool) const = 0;
  virtual int64_t num_features() const = 0;  ///< D'
  virtual Size2 out_grid() const = 0;        ///< L' = its area
  virtual Size2 stride() const = 0;          ///< pixels of the input for each token of out_grid()
  /// Names of tensors with two dimensions or more that weight decay spares in pre-training.
  virtual bool spared_by_decay(const std::string& name) const = 0;
};

}  // namespace lacuna::nn
