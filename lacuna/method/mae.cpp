#include "lacuna/method/mae.h"

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/target/patches.h"

namespace lacuna {

void MAELossConfig::fields(Fields& f) {
  f("type", type, "distance between prediction and target").choices({"mse"});
  f("norm_pix", norm_pix, "normalise each target patch by its own mean and deviation");
}

void MAEConfig::fields(Fields& f) {
  f.group("encoder", encoder);
  f.group("decoder", decoder);
  f.group("mask", mask);
  f.group("loss", loss);
}

void MAEConfig::resolve(const ConfigTable& table) {
  encoder.resolve(table, "encoder");
  mask::check_ratio(encoder.grid().area(), mask.ratio);
  nn::check_decoder(decoder);
  if (loss.norm_pix && encoder.patch_size.area() * encoder.in_chans < 2)
    fail("loss.norm_pix", "a patch of a single value has no deviation",
         "use larger patches or loss.norm_pix = false");
}

MAE::MAE(const MAEConfig& config, Draws& draws) : config_(config) {
  const auto& encoder = config.encoder;
  encoder_ = std::make_shared<nn::ViT>(encoder);
  decoder_input_ = std::make_shared<nn::DecoderInput>(encoder.embed_dim, config.decoder, encoder.grid(),
                                                      encoder_->prefix_tokens());
  decoder_ = std::make_shared<nn::DecoderStack>(config.decoder, encoder.patch_size.area() * encoder.in_chans);
  nn::adopt(*this, *encoder_);
  nn::adopt(*this, *decoder_input_);
  nn::adopt(*this, *decoder_);
  encoder_->initialize(draws);
  decoder_input_->initialize(draws);
  decoder_->initialize(draws);
}

Loss MAE::forward(const Batch& batch, Draws& draws) {
  const auto& image = batch.image;                     // [B, C, H, W]
  const auto shuffle = draw_mask(image, draws);        // K of L patches stay visible
  const auto latent = encode(image, shuffle, &draws);  // [B, 1+K, D]
  const auto pred = predict_hidden(latent, shuffle);   // [B, L-K, P]
  auto wanted = target::patchify(image, config_.encoder.patch_size, shuffle.hidden());
  if (config_.loss.norm_pix) wanted = target::normalize_patches(wanted);
  return {.total = at::mse_loss(pred.to(torch::kFloat), wanted), .parts = {}, .stats = {}};
}

Tensor MAE::features(const Batch& batch, const FeatureOptions& options) {
  const torch::NoGradGuard no_grad;
  const auto tokens = encoder_->forward_features(batch.image);
  const bool token = options.pool == "token" || (options.pool == "default" && config_.encoder.class_token);
  return encoder_->pool(tokens, token ? "token" : "avg").to(torch::kFloat);
}

Tensor MAE::tokens(const Batch& batch) {
  const torch::NoGradGuard no_grad;
  return encoder_->forward_features(batch.image).to(torch::kFloat);
}

Preview MAE::preview(const Batch& batch, Draws& draws) {
  const torch::NoGradGuard no_grad;
  const auto& encoder = config_.encoder;
  const auto shuffle = draw_mask(batch.image, draws);
  auto patches = predict_all(encode(batch.image, shuffle, nullptr), shuffle).to(torch::kFloat);
  if (config_.loss.norm_pix) {
    const auto truth = target::patch_statistics(target::patchify(batch.image, encoder.patch_size));
    patches = patches * truth.deviation + truth.mean;
  }
  return {.image = batch.image,
          .hidden = shuffle.is_hidden().view({batch.image.size(0), encoder.grid().h, encoder.grid().w}),
          .predicted = target::unpatchify(patches, encoder.patch_size, encoder.grid(), encoder.in_chans),
          .per_patch_units = config_.loss.norm_pix};
}

mask::Shuffle MAE::draw_mask(const Tensor& image, Draws& draws) const {
  return mask::random_shuffle(config_.mask, image.size(0), config_.encoder.grid().area(), image.device(),
                              draws);
}

Tensor MAE::encode(const Tensor& image, const mask::Shuffle& shuffle, Draws* draws) const {
  const auto visible = encoder_->embed_patches(image, shuffle.kept());
  return encoder_->norm(
      encoder_->run_blocks(encoder_->prepend_class(visible), is_training() ? draws : nullptr));
}

// The hidden patches are the last L-K tokens. [B, prefix+L-from, Dd].
Tensor MAE::decode(const Tensor& latent, const mask::Shuffle& shuffle, int64_t from) const {
  return decoder_->run_blocks(decoder_input_->forward(latent, shuffle.order), from);
}

Tensor MAE::predict_all(const Tensor& latent, const mask::Shuffle& shuffle) const {
  const auto patches = decode(latent, shuffle, encoder_->prefix_tokens());
  return nn::gather_tokens(decoder_->predict(patches), shuffle.restore());
}

Tensor MAE::predict_hidden(const Tensor& latent, const mask::Shuffle& shuffle) const {
  const auto patches = decode(latent, shuffle, encoder_->prefix_tokens() + shuffle.kept_count);
  return decoder_->predict(patches);
}

Tensor MAE::target(const Tensor& image) const {
  const auto patches = target::patchify(image, config_.encoder.patch_size);
  return config_.loss.norm_pix ? target::normalize_patches(patches) : patches;
}

namespace {

const Register<MethodInfo> registered{
    "mae",
    {.title = "Masked Autoencoders Are Scalable Vision Learners",
     .paper = "He, Chen, Xie, Li, Dollar, Girshick; CVPR 2022; arXiv 2111.06377",
     .code = "facebookresearch/mae @ efb2a80 (CC-BY-NC 4.0)",
     .summary = "A ViT encoder sees only the visible quarter of the patches; a small decoder predicts the "
                "pixels of the "
                "hidden ones. Cheap for each epoch and strong after fine-tuning; the base of most image "
                "methods here.",
     .parts = {"masker: random patches, 75 % hidden", "encoder: ViT on visible patches only",
               "predictor: ViT decoder with a learned mask token",
               "target: pixels, normalised patch by patch", "loss: mean squared error on hidden patches"},
     .defaults = {"train.base_lr=1.5e-4", "train.warmup_epochs=40", "train.epochs=400",
                  "train.weight_decay=0.05", "train.betas=[0.9, 0.95]", "augment.scale=[0.2, 1.0]",
                  "augment.interpolation=bicubic"},
     .make_config = [] { return std::make_unique<MAEConfig>(); },
     .make =
         [](const MethodConfig& config, Draws& draws) {
           return std::make_shared<MAE>(dynamic_cast<const MAEConfig&>(config), draws);
         },
     .finetune = {"train.base_lr=5e-4", "train.min_lr=1e-6", "train.warmup_epochs=5", "train.epochs=100",
                  "train.layer_decay=0.65"},
     .tiny = {"encoder.arch=vit"}}};

}  // namespace
}  // namespace lacuna
