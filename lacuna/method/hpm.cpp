#include "lacuna/method/hpm.h"

#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/init.h"
#include "lacuna/target/patches.h"

namespace lacuna {

namespace {

constexpr double kLogFloor = 1e-6;  // inside the logarithms of the official ranking loss
constexpr const char* kLossPredictor = "_losspred";

std::shared_ptr<nn::DecoderStack> make_stack(const HPMConfig& config, int64_t outputs,
                                             const std::string& suffix) {
  return std::make_shared<nn::DecoderStack>(config.decoder, outputs, suffix);
}

/// What the reconstructor predicts of a patch: its pixels, or a feature as wide as the teacher's.
int64_t prediction_width(const HPMConfig& config) {
  if (config.loss.target == "pixel") return config.encoder.patch_size.area() * config.encoder.in_chans;
  return config.loss.target == "ema" ? config.encoder.embed_dim : config.decoder.embed_dim;
}

}  // namespace

void HPMLossConfig::fields(Fields& f) {
  f("type", type, "distance between prediction and pixels; features are compared by their directions")
      .choices({"mse"});
  f("target", target, "what is reconstructed: pixels, or features of a DINO ViT, CLIP's ViT or the teacher")
      .choices({"pixel", "dino", "clip", "ema"});
  f("norm_pix", norm_pix, "normalise each target patch by its own mean and deviation");
  f("learn", learn, "how losses are learnt: their order, their standardised values, or not at all")
      .choices({"relative", "absolute", "none"});
  f("teacher", teacher, "target = dino or clip: a safetensors file of that network");
}

void HPMTeacherConfig::fields(Fields& f) {
  f("decay", decay, "of the teacher's moving average in the first epoch").range(0, 1);
  f("final_decay", final_decay, "the same from ramp_epochs on; it moves linearly, epoch by epoch")
      .range(0, 1);
  f("ramp_epochs", ramp_epochs, "epochs until final_decay").range(0);
}

void HPMConfig::fields(Fields& f) {
  f.group("encoder", encoder);
  f.group("decoder", decoder);
  f.group("mask", mask);
  f.group("loss", loss);
  f.group("teacher", teacher);
}

void HPMConfig::resolve(const ConfigTable& table) {
  encoder.resolve(table, "encoder");
  mask::check_ratio(patches(), mask.ratio);
  nn::check_decoder(decoder);
  const bool pattern = mask.type != "hpm";
  if (pattern) mask::check_pattern(mask, encoder.grid());
  if (!table.is_set("mask.guide")) mask.guide = learns() && !pattern;
  if (mask.guide && pattern)
    fail("mask.guide", str("mask.type = ", mask.type, " hides what its pattern says"),
         "use mask.guide = false, or mask.type = hpm");
  if (mask.guide && !learns())
    fail("mask.guide", "nothing predicts losses with loss.learn = none", "use mask.guide = false");
  if (learns() && hidden() < 2)
    fail(str("mask.ratio ", mask.ratio), "it hides a single patch, so there is no order of losses to learn",
         "hide more, or use loss.learn = none");
  const int64_t kept = patches() - hidden();
  if (mask.vis_mask_ratio > 0 && mask::kept_patches(kept, mask.vis_mask_ratio) < 1)
    fail(str("mask.vis_mask_ratio ", mask.vis_mask_ratio),
         str("of ", kept, " visible patches it leaves none"), "choose a smaller one");
  if ((loss.target == "dino" || loss.target == "clip") && encoder.in_chans != 3)
    fail(str("loss.target ", loss.target),
         str("its network reads 3 channels, the pictures have ", encoder.in_chans),
         "use loss.target = pixel or ema");
  if (loss.target == "pixel" && loss.norm_pix && encoder.patch_size.area() * encoder.in_chans < 2)
    fail("loss.norm_pix", "a patch of a single value has no deviation",
         "use larger patches or loss.norm_pix = false");
}

HPMNetwork::HPMNetwork(const HPMConfig& config) : mask_(config.mask) {
  const auto& encoder = config.encoder;
  encoder_ = std::make_shared<nn::ViT>(encoder);
  decoder_input_ = std::make_shared<nn::DecoderInput>(encoder.embed_dim, config.decoder, encoder.grid(),
                                                      encoder_->prefix_tokens());
  decoder_ = make_stack(config, prediction_width(config), "");
  nn::adopt(*this, *encoder_);
  nn::adopt(*this, *decoder_input_);
  nn::adopt(*this, *decoder_);
  if (config.learns()) {
    losspred_ = make_stack(config, encoder.patch_size.area() * encoder.in_chans, kLossPredictor);
    nn::adopt(*this, *losspred_);
  }
  if (mask_.vis_mask_ratio > 0)
    vis_mask_token_ = register_parameter("vis_mask_token", torch::zeros({1, 1, encoder.embed_dim}));
}

void HPMNetwork::initialize(Draws& draws) {
  encoder_->initialize(draws);
  decoder_input_->initialize(draws);
  decoder_->initialize(draws);
  if (losspred_) losspred_->initialize(draws);
  if (vis_mask_token_.defined()) nn::normal_(vis_mask_token_, 0.02, draws, "vis_mask_token");
}

Tensor HPMNetwork::encode(const Tensor& image, const mask::Shuffle& shuffle, Draws* draws,
                          Draws* blank_draws) const {
  const auto kept = shuffle.kept();
  auto visible = encoder_->embed_patches(image, kept);  // [B, K, D]
  if (vis_mask_token_.defined() && blank_draws != nullptr) {
    const auto blank = mask::blank_visible(mask_, kept.size(0), kept.size(1), image.device(), *blank_draws);
    const auto token = (vis_mask_token_ + encoder_->positions(kept)).to(visible.dtype());
    visible = torch::where(blank.unsqueeze(-1), token, visible);
  }
  return encoder_->norm(encoder_->run_blocks(encoder_->prepend_class(visible), draws));
}

Tensor HPMNetwork::decoder_tokens(const Tensor& latent, const Tensor& order) const {
  return decoder_input_->forward(latent, order);
}

Tensor HPMNetwork::reconstruct(const Tensor& tokens, int64_t skip) const {
  return decoder_->predict(decoder_->run_blocks(tokens, encoder_->prefix_tokens() + skip));
}

Tensor HPMNetwork::predict_loss(const Tensor& tokens, int64_t skip) const {
  return losspred_->predict_mean(losspred_->run_blocks(tokens, encoder_->prefix_tokens() + skip))
      .to(torch::kFloat);
}

// Over ordered pairs as printed, each pair counts twice with one and the same term: once is enough.
Tensor ranking_loss(const Tensor& predicted, const Tensor& truth) {
  const auto wanted = truth.detach();
  const auto larger =
      (wanted.unsqueeze(1) > wanted.unsqueeze(2)).to(predicted.dtype());  // [B, i, j]: t_j > t_i
  const auto margin = predicted.unsqueeze(1) - predicted.unsqueeze(2);    // s_j - s_i
  const auto cost = -torch::log(torch::sigmoid(margin) + kLogFloor);
  return (larger * cost).sum() / larger.sum().clamp_min(1);
}

Tensor regression_loss(const Tensor& predicted, const Tensor& truth) {
  return at::mse_loss(predicted, target::normalize_patches(truth.detach()));
}

HPM::HPM(const HPMConfig& config, Draws& draws)
    : config_(config),
      student_(std::make_shared<HPMNetwork>(config)),
      teacher_(std::make_shared<HPMNetwork>(config)) {
  student_->initialize(draws);
  nn::adopt(*this, *student_);
  for (auto& parameter : teacher_->parameters()) parameter.requires_grad_(false);
  register_module("ema", teacher_);
  ema_ = std::make_unique<nn::Ema>(weights(), nn::named_tensors(*teacher_));
  ema_->restart();
}

Loss HPM::forward(const Batch& batch, Draws& draws) {
  const auto& image = batch.image;               // [B, C, H, W]
  const auto shuffle = draw_mask(image, draws);  // K of L patches stay visible, Lm = L-K are hidden
  const int64_t K = shuffle.kept_count;
  const auto latent = student_->encode(image, shuffle, is_training() ? &draws : nullptr, &draws);
  const auto tokens = student_->decoder_tokens(latent, shuffle.order);              // [B, 1+L, Dd]
  const auto error = patch_loss(image, shuffle, student_->reconstruct(tokens, K));  // [B, Lm]
  const auto recon = error.mean();
  const int64_t hard = hard_count();
  Loss loss{
      .total = recon,
      .parts = {{"recon", recon}},
      .stats = {{"mask.hard_share", static_cast<double>(hard) / static_cast<double>(config_.hidden())}}};
  if (!config_.learns()) return loss;
  const auto expected = student_->predict_loss(tokens, K);  // [B, Lm]
  loss.parts["learn"] =
      config_.loss.learn == "relative" ? ranking_loss(expected, error) : regression_loss(expected, error);
  loss.total = recon + loss.parts["learn"];
  return loss;
}

Tensor HPM::patch_loss(const Tensor& image, const mask::Shuffle& shuffle, const Tensor& prediction) {
  const auto predicted = prediction.to(torch::kFloat);
  if (config_.loss.target == "pixel") {
    auto wanted = target::patchify(image, config_.encoder.patch_size, shuffle.hidden());
    if (config_.loss.norm_pix) wanted = target::normalize_patches(wanted);
    return (predicted - wanted).square().mean(-1);
  }
  const auto direction = [](const Tensor& x) {
    return x / at::linalg_vector_norm(x, 2, at::OptionalIntArrayRef({-1}), true).clamp_min(1e-12);
  };
  const auto wanted = nn::gather_tokens(feature_target(image), shuffle.hidden());
  return (direction(predicted) - direction(wanted)).square().sum(-1);
}

/// [B, L, Dt] float, no gradient.
Tensor HPM::feature_target(const Tensor& image) {
  const torch::NoGradGuard no_grad;
  if (config_.loss.target == "ema")
    return teacher_->encode_all(image).slice(1, teacher_->encoder().prefix_tokens()).to(torch::kFloat);
  prepare_training();
  return feature_teacher_->forward(image).to(torch::kFloat);
}

// Only training reads the file: an evaluation of the weights does without.
void HPM::prepare_training() {
  const auto& loss = config_.loss;
  if (feature_teacher_ || (loss.target != "dino" && loss.target != "clip")) return;
  if (loss.teacher.empty())
    fail("loss.teacher", str("is not given, and the target is the features of ", loss.target),
         "name a safetensors file of that network (tools/pth_to_safetensors.py converts others)");
  feature_teacher_ =
      target::open_teacher(loss.target, loss.teacher, config_.encoder.img_size, config_.encoder.patch_size);
  if (feature_teacher_->dim() != prediction_width(config_))
    fail(str("decoder.embed_dim ", config_.decoder.embed_dim),
         str(loss.teacher, " has features ", feature_teacher_->dim(),
             " wide, which the decoder must have too"),
         str("use decoder.embed_dim = ", feature_teacher_->dim()));
  feature_teacher_->to(parameters().front().device());
}

int64_t HPM::hard_count() const {
  return mask::hard_count(config_.mask, config_.hidden(), std::floor(progress_.epoch),
                          std::ceil(progress_.epochs));
}

double HPM::decay() const {
  const auto& teacher = config_.teacher;
  return nn::ema_ramp(teacher.decay, teacher.final_decay, std::floor(progress_.epoch), teacher.ramp_epochs);
}

void HPM::after_step(const Progress& /*progress*/) { ema_->update(decay()); }

Tensor HPM::teacher_loss(const Tensor& image) const {
  const torch::NoGradGuard no_grad;
  const auto order =
      torch::arange(config_.patches(), image.options().dtype(torch::kLong)).expand({image.size(0), -1});
  return teacher_->predict_loss(teacher_->decoder_tokens(teacher_->encode_all(image), order), 0);
}

// While nothing is chosen by hardness the teacher need not look.
mask::Shuffle HPM::draw_mask(const Tensor& image, Draws& draws) const {
  if (config_.mask.type != "hpm")
    return mask::pattern_shuffle(config_.mask, image.size(0), config_.encoder.grid(), image.device(), draws);
  const int64_t hard = hard_count();
  if (hard == 0)
    return mask::easy_shuffle(config_.mask, image.size(0), config_.patches(), image.device(), draws);
  return mask::hard_shuffle(config_.mask, teacher_loss(image), hard, draws);
}

Tensor HPM::features(const Batch& batch, const FeatureOptions& options) {
  const torch::NoGradGuard no_grad;
  const auto& encoder = student_->encoder();
  const bool token = options.pool == "token" || (options.pool == "default" && config_.encoder.class_token);
  return encoder.pool(student_->encode_all(batch.image), token ? "token" : "avg").to(torch::kFloat);
}

Tensor HPM::tokens(const Batch& batch) {
  const torch::NoGradGuard no_grad;
  return student_->encode_all(batch.image).to(torch::kFloat);
}

Preview HPM::preview(const Batch& batch, Draws& draws) {
  const torch::NoGradGuard no_grad;
  const auto& encoder = config_.encoder;
  const auto& image = batch.image;
  const auto shuffle = draw_mask(image, draws);
  const std::vector<int64_t> grid{image.size(0), encoder.grid().h, encoder.grid().w};
  Preview shown{.image = image, .hidden = shuffle.is_hidden().view(grid)};
  if (config_.learns()) {
    shown.heat = teacher_loss(image).view(grid);
    shown.heat_title = "loss map";
    shown.hidden_note = str(hard_count(), " of ", config_.hidden(), " by loss");
  }
  if (config_.loss.target != "pixel") return shown;
  const auto latent = student_->encode(image, shuffle, nullptr, nullptr);
  auto patches = student_->reconstruct(student_->decoder_tokens(latent, shuffle.order), 0).to(torch::kFloat);
  patches = nn::gather_tokens(patches, shuffle.restore());
  if (config_.loss.norm_pix) {
    const auto truth = target::patch_statistics(target::patchify(image, encoder.patch_size));
    patches = patches * truth.deviation + truth.mean;
  }
  shown.predicted = target::unpatchify(patches, encoder.patch_size, encoder.grid(), encoder.in_chans);
  shown.per_patch_units = config_.loss.norm_pix;
  return shown;
}

namespace {

const Register<MethodInfo> registered{
    "hpm",
    {.title = "Hard Patches Mining for Masked Image Modeling",
     .paper = "Wang, Song, Fan, Wang, Xie, Zhang; CVPR 2023; arXiv 2304.05919 (extended: 2312.13714)",
     .code = "Haochen-Wang409/HPM @ c15ae90 (Apache-2.0)",
     .summary =
         "MAE that sets its own exercises: a second decoder predicts how hard each patch will be to "
         "reconstruct, and a momentum teacher hides the hardest ones, more of them as training goes on. "
         "The predicted loss is a map of what matters in a picture.",
     .parts = {"masker: predicted hardest patches, 0 to half of the mask, the rest random; 75 % hidden",
               "encoder: ViT on visible patches only",
               "predictor: two ViT decoders, of pixels and of each patch's loss",
               "teacher: moving average of the whole model, sees the whole picture",
               "target: pixels, or features of DINO, CLIP or the teacher",
               "loss: mean squared error on hidden patches + ranking of their losses"},
     .defaults = {"train.base_lr=1.5e-4", "train.warmup_epochs=40", "train.epochs=200",
                  "train.weight_decay=0.05", "train.betas=[0.9, 0.95]", "augment.scale=[0.2, 1.0]",
                  "augment.interpolation=bicubic"},
     .make_config = [] { return std::make_unique<HPMConfig>(); },
     .make =
         [](const MethodConfig& config, Draws& draws) {
           return std::make_shared<HPM>(dynamic_cast<const HPMConfig&>(config), draws);
         },
     .finetune = {"train.base_lr=5e-4", "train.min_lr=1e-6", "train.warmup_epochs=5", "train.epochs=100",
                  "train.layer_decay=0.8", "encoder.drop_path=0.1"},
     .tiny = {"encoder.arch=vit"}}};

}  // namespace
}  // namespace lacuna
