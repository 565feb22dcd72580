#include "lacuna/method/simmim.h"

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna {

namespace {

// Of the truncated normal that the ViT for pre-training starts from: its own default
// (VisionTransformerForSimMIM).
constexpr double kInitBound = 0.02;
// In the official denominator.
constexpr double kEps = 1e-5;
constexpr const char* kEncoderPrefix = "encoder.";

/// Which of the decoder's cells hold a pixel of `region` [B, h, w] (patch resolution): numbers into [B * L'].
Tensor touched_cells(const Tensor& region, Size2 cells) {
  const int64_t B = region.size(0);
  return region.view({B, cells.h, region.size(1) / cells.h, cells.w, region.size(2) / cells.w})
      .any(4)
      .any(2)
      .flatten()
      .nonzero()
      .squeeze(1);
}

/// Rows `ids` of a view [B, h, w, ...] numbered as [B * h * w] -> [M, ...], copying nothing else.
Tensor cells_of(const Tensor& view, const Tensor& ids) {
  const int64_t h = view.size(1), w = view.size(2);
  return view.index({ids.div(h * w, "floor"), ids.remainder(h * w).div(w, "floor"), ids.remainder(w)});
}

}  // namespace

void SimMIMLossConfig::fields(Fields& f) {
  f("type", type, "distance between prediction and picture").choices({"l1", "mse"});
  f("region", region, "pixels that the loss reads: the hidden ones, or all (the paper's ablation)")
      .choices({"hidden", "all"});
}

SimMIMConfig::SimMIMConfig() {
  encoder.arch = "swin_base";
  encoder.img_size = {192, 192};
  encoder.window_size = 6;
}

void SimMIMConfig::fields(Fields& f) {
  f.group("encoder", encoder);
  f.group("decoder", decoder);
  f.group("mask", mask);
  f.group("loss", loss);
}

void SimMIMConfig::resolve(const ConfigTable& table) {
  if (encoder.kind() != nn::EncoderKind::kBeit && encoder.kind() != nn::EncoderKind::kSwin)
    fail(str("encoder.arch ", encoder.arch), "SimMIM hides patches inside the encoder, which this one can't",
         "use a swin or beit encoder: `lacuna list encoders`");
  encoder.resolve(table, "encoder");
  decoder.resolve(table, "decoder");
  mask::check_blocks(mask, encoder.img_size, encoder.patch_size);
}

SimMIM::SimMIM(const SimMIMConfig& config, Draws& draws) : config_(config) {
  encoder_ = register_module("encoder", config.encoder.make_grid_encoder(kInitBound));
  const nn::PixelDecoderInput input{encoder_->num_features(), encoder_->out_grid(), encoder_->stride(),
                                    config.encoder.patch_size, config.encoder.in_chans};
  decoder_ = register_module("decoder", nn::make_pixel_decoder(config.decoder, input));
  encoder_->initialize(draws);
  decoder_->initialize(draws, "decoder");
}

Loss SimMIM::forward(const Batch& batch, Draws& draws) {
  const auto& image = batch.image;                                         // [B, C, H, W]
  const auto hidden = draw_mask(image.size(0), draws);                     // [B, h, w]
  const auto z = encode(image, hidden, is_training() ? &draws : nullptr);  // [B, L', D']
  const auto region = config_.loss.region == "all" ? torch::ones_like(hidden) : hidden;
  return {.total = loss_over(image, z, region), .parts = {}, .stats = {}};
}

// Only cells with a pixel of the region are predicted.
Tensor SimMIM::loss_over(const Tensor& image, const Tensor& z, const Tensor& region) const {
  const Size2 cells = decoder_->grid(), stride = decoder_->stride();
  const int64_t C = image.size(1);
  const auto ids_cpu = touched_cells(region, cells), ids = ids_cpu.to(image.device());  // [M]
  const auto tokens = decoder_->tokens(z).flatten(0, 1).index_select(0, ids);           // [M, D'']
  const auto rec = decoder_->predict(tokens).to(torch::kFloat);                         // [M, C s^2]
  const auto wanted = cells_of(nn::patch_view(image, stride), ids).flatten(1);          // [M, C s^2]
  auto error = (wanted - rec).abs();
  if (config_.loss.type == "mse") error = error.square();
  const auto count = region.sum().item<int64_t>() * config_.encoder.patch_size.area();
  if (count != ids.size(0) * stride.area()) {  // some cells are hidden in part
    const Size2 patches{region.size(1) / cells.h, region.size(2) / cells.w},
        patch = config_.encoder.patch_size;
    const auto part = region.view({region.size(0), cells.h, patches.h, cells.w, patches.w}).transpose(2, 3);
    const auto weight =
        cells_of(part, ids_cpu).repeat_interleave(patch.h, 1).repeat_interleave(patch.w, 2);  // [M, s, s]
    error = error * weight.flatten(1).repeat({1, C}).to(error.device());
  }
  return error.sum() / ((static_cast<double>(count) + kEps) * static_cast<double>(C));
}

Tensor SimMIM::features(const Batch& batch, const FeatureOptions& options) {
  const torch::NoGradGuard no_grad;
  return encoder_->pooled(batch.image, options.pool == "default" ? "avg" : options.pool).to(torch::kFloat);
}

Tensor SimMIM::tokens(const Batch& batch) {
  const torch::NoGradGuard no_grad;
  return encoder_->forward(batch.image, {}, nullptr).to(torch::kFloat);
}

Preview SimMIM::preview(const Batch& batch, Draws& draws) {
  const torch::NoGradGuard no_grad;
  const auto hidden = draw_mask(batch.image.size(0), draws);
  const auto predicted = predict_all(encode(batch.image, hidden, nullptr)).to(torch::kFloat);
  return {.image = batch.image, .hidden = hidden.to(batch.image.device()), .predicted = predicted};
}

bool SimMIM::decays(const std::string& name, const Tensor& parameter) const {
  const std::string prefix = kEncoderPrefix;
  const bool spared = name.starts_with(prefix) && encoder_->spared_by_decay(name.substr(prefix.size()));
  return Method::decays(name, parameter) && !spared;
}

Tensor SimMIM::draw_mask(int64_t samples, Draws& draws) const {
  return mask::random_blocks(config_.mask, samples, config_.encoder.img_size, config_.encoder.patch_size,
                             draws);
}

Tensor SimMIM::encode(const Tensor& image, const Tensor& hidden, Draws* draws) const {
  return encoder_->forward(image, hidden.to(image.device()), draws);
}

Tensor SimMIM::predict_all(const Tensor& z) const {
  const Size2 cells = decoder_->grid(), stride = decoder_->stride();
  const int64_t B = z.size(0), C = config_.encoder.in_chans;
  return decoder_->predict(decoder_->tokens(z))
      .view({B, cells.h, cells.w, C, stride.h, stride.w})
      .permute({0, 3, 1, 4, 2, 5})
      .reshape({B, C, cells.h * stride.h, cells.w * stride.w});
}

namespace {

const Register<MethodInfo> registered{
    "simmim",
    {.title = "SimMIM: A Simple Framework for Masked Image Modeling",
     .paper = "Xie, Zhang, Cao, Lin, Bao, Yao, Dai, Hu; CVPR 2022; arXiv 2111.09886",
     .code = "microsoft/SimMIM @ d3e29bc (MIT)",
     .summary = "Large square cells are hidden by a learned token, the whole sequence runs through the "
                "encoder, and one "
                "linear layer predicts the hidden pixels. Works for hierarchical encoders (Swin), where "
                "tokens can't be "
                "dropped.",
     .parts = {"masker: cells of 32 pixels, 60 % hidden",
               "encoder: Swin or a BEiT-style ViT with mask tokens",
               "predictor: one linear layer; an MLP, blocks or an inverse Swin for comparison",
               "target: normalised pixels", "loss: L1 on hidden pixels"},
     .defaults = {"train.base_lr=1e-4", "train.lr_batch=512", "train.base_warmup_lr=5e-7",
                  "train.schedule=multistep", "train.milestones=[700]", "train.warmup_epochs=10",
                  "train.epochs=800", "train.weight_decay=0.05", "train.betas=[0.9, 0.999]",
                  "train.clip_grad=5.0", "augment.scale=[0.67, 1.0]", "augment.interpolation=bilinear"},
     .make_config = [] { return std::make_unique<SimMIMConfig>(); },
     .make =
         [](const MethodConfig& config, Draws& draws) {
           return std::make_shared<SimMIM>(dynamic_cast<const SimMIMConfig&>(config), draws);
         },
     .finetune = {"train.base_lr=1.25e-3", "train.lr_batch=512", "train.base_warmup_lr=2.5e-7",
                  "train.base_min_lr=2.5e-7", "train.schedule=timm_cosine", "train.warmup_epochs=20",
                  "train.epochs=100", "train.clip_grad=5.0", "train.layer_decay=0.8"},
     .tiny = {"encoder.arch=beit-vit"}}};

}  // namespace
}  // namespace lacuna
