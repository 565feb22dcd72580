#pragma once
// What predicts pixels from an encoder's whole grid of tokens: SimMIM's linear layer, and the heavier heads
// that its paper compares it with (Xie et al., CVPR 2022, section 3.3 and table 3).

#include <torch/nn/module.h>

#include <memory>
#include <string>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/nn/layers.h"

namespace lacuna::nn {

/// Keys `decoder.*`. Those of one type mean nothing to the others.
struct PixelDecoderConfig {
  std::string type = "linear";
  int64_t embed_dim = 0, depth = 2;
  std::vector<int64_t> depths{2, 6, 2, 2}, num_heads{16};
  int64_t window_size = 6;
  double mlp_ratio = 4.0;
  void fields(Fields& f);
  /// What follows from the type unless it is given. `prefix`: where the keys stand ("decoder").
  void resolve(const ConfigTable& table, const std::string& prefix);
};

/// The tokens that a decoder reads and the pixels that it predicts.
struct PixelDecoderInput {
  int64_t dim;       ///< D', width of the encoder's tokens
  Size2 grid;        ///< L' = its area
  Size2 stride;      ///< pixels of a token
  Size2 patch;       ///< the encoder's; a decoder goes no finer
  int64_t in_chans;  ///< C
};

/// Tokens z [B, L', D'] of the encoder become tokens [B, L'', D''] over grid(), each of which predicts a cell
/// of stride() pixels.
class PixelDecoder : public torch::nn::Module {
 public:
  /// First values of all parameters; `name` stands in front of theirs.
  virtual void initialize(Draws& draws, const std::string& name) = 0;
  /// [B, L', D'] -> [B, L'', D'']: all that tokens tell each other.
  virtual Tensor tokens(const Tensor& z) const { return z; }
  /// [..., D''] -> [..., C s^2], channel slowest inside a cell (PixelShuffle's order). Give only those that
  /// are needed.
  virtual Tensor predict(const Tensor& tokens) const = 0;
  Size2 grid() const { return grid_; }
  Size2 stride() const { return stride_; }

 protected:
  PixelDecoder(Size2 grid, Size2 stride) : grid_(grid), stride_(stride) {}

 private:
  Size2 grid_, stride_;
};

/// linear: 0 (the official 1x1 convolution). mlp: 0, 2 with a GELU between. transformer: embed, pos_embed
/// (fixed sine-cosine table), blocks.{i}, norm, pred. inverse-swin: embed, layers.{s}.{blocks.{i},
/// upsample.{expand, norm}}, norm, pred: a Swin whose stages go from coarse to fine, the last embed_dim wide.
/// Error where the sizes do not fit.
std::shared_ptr<PixelDecoder> make_pixel_decoder(const PixelDecoderConfig& config,
                                                 const PixelDecoderInput& input);

}  // namespace lacuna::nn
