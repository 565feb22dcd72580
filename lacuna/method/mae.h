#pragma once
// Masked Autoencoders Are Scalable Vision Learners (He, Chen, Xie, Li, Dollar, Girshick; CVPR 2022, arXiv
// 2111.06377).

#include <memory>
#include <string>

#include "lacuna/mask/random.h"
#include "lacuna/method/method.h"
#include "lacuna/nn/decoder.h"
#include "lacuna/nn/vit.h"

namespace lacuna {

/// Keys `loss.*`.
struct MAELossConfig {
  std::string type = "mse";
  bool norm_pix = true;
  void fields(Fields& f);
};

/// Keys `encoder.*`, `decoder.*`, `mask.*`, `loss.*`.
struct MAEConfig : MethodConfig {
  nn::ViTConfig encoder;
  nn::DecoderConfig decoder;
  mask::RandomConfig mask;
  MAELossConfig loss;
  void fields(Fields& f) override;
  void resolve(const ConfigTable& table) override;
};

/// B pictures, L patches, K of them visible, D and Dd the widths of encoder and decoder, P = ph*pw*C.
class MAE : public Method {
 public:
  MAE(const MAEConfig& config, Draws& draws);

  /// Mean squared error over the hidden patches of the whole batch (equation in section 3, "Reconstruction
  /// target").
  Loss forward(const Batch& batch, Draws& draws) override;
  Tensor features(const Batch& batch, const FeatureOptions& options) override;
  Tensor tokens(const Batch& batch) override;
  Preview preview(const Batch& batch, Draws& draws) override;
  InputSpec input() const override { return {config_.encoder.in_chans, config_.encoder.img_size}; }

  const MAEConfig& config() const { return config_; }
  mask::Shuffle draw_mask(const Tensor& image, Draws& draws) const;
  /// [B, 1+K, D]: class token, then visible patches in shuffled order, after the final norm.
  Tensor encode(const Tensor& image, const mask::Shuffle& shuffle, Draws* draws) const;
  /// [B, L, P] in raster order: the prediction for every patch, visible ones included (no loss reads those).
  Tensor predict_all(const Tensor& latent, const mask::Shuffle& shuffle) const;
  /// [B, L-K, P] in shuffled order: only what the loss reads.
  Tensor predict_hidden(const Tensor& latent, const mask::Shuffle& shuffle) const;
  /// [B, L, P]: what is to be predicted.
  Tensor target(const Tensor& image) const;

 private:
  Tensor decode(const Tensor& latent, const mask::Shuffle& shuffle, int64_t from) const;

  MAEConfig config_;
  std::shared_ptr<nn::ViT> encoder_;
  std::shared_ptr<nn::DecoderInput> decoder_input_;
  std::shared_ptr<nn::DecoderStack> decoder_;
};

}  // namespace lacuna
