#pragma once
// SimMIM: A Simple Framework for Masked Image Modeling (Xie, Zhang, Cao, Lin, Bao, Yao, Dai, Hu; CVPR 2022,
// arXiv 2111.09886).

#include <memory>
#include <string>

#include "lacuna/mask/block.h"
#include "lacuna/method/method.h"
#include "lacuna/nn/encoder_config.h"
#include "lacuna/nn/pixel_decoder.h"

namespace lacuna {

/// Keys `loss.*`.
struct SimMIMLossConfig {
  std::string type = "l1";
  std::string region = "hidden";
  void fields(Fields& f);
};

struct SimMIMConfig : MethodConfig {
  nn::EncoderConfig encoder;
  nn::PixelDecoderConfig decoder;
  mask::BlockConfig mask;
  SimMIMLossConfig loss;
  SimMIMConfig();
  void fields(Fields& f) override;
  void resolve(const ConfigTable& table) override;
};

/// B pictures of H x W, L' tokens of the encoder's last map, L'' of the decoder (the same ones unless it
/// refines the grid), each of which predicts a cell of s x s pixels.
class SimMIM : public Method {
 public:
  SimMIM(const SimMIMConfig& config, Draws& draws);

  /// Mean absolute error over the hidden pixels of the whole batch (section 3.4).
  Loss forward(const Batch& batch, Draws& draws) override;
  Tensor features(const Batch& batch, const FeatureOptions& options) override;
  Tensor tokens(const Batch& batch) override;
  Preview preview(const Batch& batch, Draws& draws) override;
  InputSpec input() const override { return {config_.encoder.in_chans, config_.encoder.img_size}; }
  bool decays(const std::string& name, const Tensor& parameter) const override;

  const SimMIMConfig& config() const { return config_; }
  Size2 out_grid() const { return encoder_->out_grid(); }  ///< L' = its area
  /// [B, h, w] bool at patch resolution, true = hidden; on the CPU.
  Tensor draw_mask(int64_t samples, Draws& draws) const;
  /// [B, L', D'] with hidden patches replaced by the mask token.
  Tensor encode(const Tensor& image, const Tensor& hidden, Draws* draws) const;
  /// [B, C, H, W]: the prediction for every pixel, visible ones included (no loss reads those).
  Tensor predict_all(const Tensor& z) const;

 private:
  Tensor loss_over(const Tensor& image, const Tensor& z, const Tensor& region) const;

  SimMIMConfig config_;
  std::shared_ptr<nn::GridEncoder> encoder_;
  std::shared_ptr<nn::PixelDecoder> decoder_;
};

}  // namespace lacuna
