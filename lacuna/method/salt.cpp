#include "lacuna/method/salt.h"

#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/io/safetensors.h"
#include "lacuna/method/salt_names.h"
#include "lacuna/nn/weights.h"
#include "lacuna/target/cubes.h"

namespace lacuna {

namespace {

constexpr double kTargetNormEps = 1e-5;  // of V-JEPA's F.layer_norm

Tensor distance(const Tensor& predicted, const Tensor& target, double exponent, bool divide) {
  const auto error = predicted.to(torch::kFloat) - target;
  const auto cost = exponent == 1   ? error.abs().mean()
                    : exponent == 2 ? error.square().mean()
                                    : error.abs().pow(exponent).mean();
  return divide ? cost / exponent : cost;
}

nn::NamedTensors with_prefix(const std::string& prefix, const torch::nn::Module& module) {
  nn::NamedTensors out;
  for (const auto& [name, tensor] : nn::named_tensors(module)) out[prefix + name] = tensor;
  return out;
}

}  // namespace

void SALTLossConfig::fields(Fields& f) {
  f("norm_pix", norm_pix,
    "stage 1: pixels of a cube are normalised channel by channel (VideoMAE), together (MAE), or not")
      .choices(target::cube_norms());
  f("pixel_exp", pixel_exp, "stage 1: exponent of the error; 2: VideoMAE's squares, 1: absolute values")
      .range(0.1, 10);
  f("pixel_divide", pixel_divide, "stage 1: divide the loss by the exponent");
  f("target_norm", target_norm, "stage 2: the teacher's features are normalised over the channels, or not")
      .choices({"layer_norm", "none"});
  f("latent_exp", latent_exp, "stage 2: exponent of the error").range(0.1, 10);
  f("latent_divide", latent_divide, "stage 2: divide the loss by the exponent");
}

void SALTTeacherConfig::fields(Fields& f) {
  f("type", type,
    "stage 2: frozen (SALT), or ema: a moving average of the student itself (V-JEPA, the baseline)")
      .choices({"frozen", "ema"});
  f("init", init,
    "frozen: weights of any encoder of films (a run, a checkpoint, a safetensors file); empty: stage 1 is "
    "trained first");
  f("weights", weights, "frozen: the encoder's weights that training reads; set by the program from init");
  f("steps", steps, "steps of stage 1 when it is trained first; 0: `share` of both stages together").range(0);
  f("share", share, "share of stage 1 in the steps of both stages; train.steps then are those of both")
      .range(0.001, 0.999);
  f("momentum", momentum, "ema: share of the teacher that stays at a step, first and last").range(0, 1);
  f("momentum_scale", momentum_scale, "ema: the momentum's course over the run's steps (V-JEPA: 1.25)")
      .range(1);
  network.size_fields(f);
}

void SALTConfig::fields(Fields& f) {
  f("stage", stage, "1: the teacher, by pixels (V-Pixel); 2: the student, by a teacher's features")
      .range(1, 2);
  f.group("encoder", encoder);
  f.group("predictor", predictor);
  f.group("mask", mask);
  f.group("loss", loss);
  f.group("teacher", teacher);
}

void SALTConfig::resolve(const ConfigTable& table) {
  encoder.resolve(table, "encoder");
  mask::check_multi_block(mask, encoder.grid());
  if (predictor.num_mask_tokens == 0) predictor.num_mask_tokens = std::ssize(mask.groups());
  if (teacher.momentum.size() != 2)
    fail("teacher.momentum", str(teacher.momentum.size(), " values"), "give two, e.g. [0.998, 1.0]");
  if (pixels() && loss.norm_pix == "patch_channel" && encoder.cube_values() == encoder.in_chans)
    fail("loss.norm_pix patch_channel", "a cube of a single pixel has no deviation",
         "use larger cubes or loss.norm_pix = none");
  // What is not said of the teacher is as in the student; a named size brings its own.
  auto& network = teacher.network;
  network.read_as(encoder);
  const auto unless_given = [&](const char* key, auto& value, const auto& other) {
    if (!table.is_set(str("teacher.", key))) value = other;
  };
  unless_given("use_rope", network.use_rope, encoder.use_rope);
  unless_given("uniform_power", network.uniform_power, encoder.uniform_power);
  unless_given("qkv_bias", network.qkv_bias, encoder.qkv_bias);
  unless_given("norm_eps", network.norm_eps, encoder.norm_eps);
  if (!table.is_set("teacher.arch")) {
    network.arch = encoder.arch;
    unless_given("embed_dim", network.embed_dim, encoder.embed_dim);
    unless_given("depth", network.depth, encoder.depth);
    unless_given("num_heads", network.num_heads, encoder.num_heads);
    unless_given("mlp_ratio", network.mlp_ratio, encoder.mlp_ratio);
  } else {
    network.resolve(table, "teacher");
  }
  network.drop_path = 0;
}

SALT::SALT(const SALTConfig& config, Draws& draws) : config_(config), groups_(config.mask.groups()) {
  const int64_t outputs = config.pixels()           ? config.encoder.cube_values()
                          : config.moving_teacher() ? config.encoder.embed_dim
                                                    : config.teacher.network.embed_dim;
  encoder_ = register_module("encoder", std::make_shared<nn::VideoViT>(config.encoder));
  predictor_ = register_module(
      "predictor", std::make_shared<nn::VideoPredictor>(config.predictor, config.encoder, outputs));
  gather_ = register_module("gather", std::make_shared<nn::RowGather>());
  encoder_->initialize(draws, "encoder");
  predictor_->initialize(draws, "predictor");
  if (!config.moving_teacher()) return;
  // Named as the encoder, so that its file serves as an encoder's.
  teacher_ = std::make_shared<nn::VideoViT>(config.encoder);
  for (auto& parameter : teacher_->parameters()) parameter.requires_grad_(false);
  const auto holder = register_module("ema", std::make_shared<torch::nn::Module>());
  holder->register_module("encoder", teacher_);
  ema_ = std::make_unique<nn::Ema>(with_prefix("encoder.", *encoder_), with_prefix("encoder.", *teacher_));
  ema_->restart();
}

std::shared_ptr<nn::VideoViT> SALT::make_teacher() {
  teacher_ = std::make_shared<nn::VideoViT>(config_.teacher.network);
  for (auto& parameter : teacher_->parameters()) parameter.requires_grad_(false);
  teacher_->eval();
  return teacher_;
}

// Only training reads the file: an evaluation of the student does without.
void SALT::prepare_training() {
  if (!config_.frozen_teacher() || teacher_) return;
  const auto& file = config_.teacher.weights;
  if (file.empty())
    fail("teacher.weights", "is not given, and a student learns from a teacher",
         "use `lacuna pretrain salt`, which trains or opens one (teacher.init)");
  const auto tensors = io::load_safetensors(file);
  nn::load_weights(nn::named_tensors(*make_teacher()), tensors, file);
  teacher_->to(parameters().front().device());
}

// Training has called prepare_training(), which insists on weights; what only rehearses a step (bench, dry
// run) makes do with a teacher that knows nothing.
void SALT::ensure_teacher() {
  if (!config_.frozen_teacher() || teacher_) return;
  if (!config_.teacher.weights.empty()) return prepare_training();
  SeededDraws draws(0);
  make_teacher()->initialize(draws, "teacher");
  teacher_->to(parameters().front().device());
}

std::vector<mask::TokenMasks> SALT::draw_masks(const Tensor& video, Draws& draws,
                                               const mask::AgreedLength& agreed) const {
  std::vector<mask::TokenMasks> out;
  for (size_t g = 0; g < groups_.size(); ++g) {
    auto masks = mask::draw_multi_block(groups_[g], static_cast<int64_t>(g), config_.encoder.grid(),
                                        video.size(0), progress_.step, draws, agreed);
    out.push_back({masks.context.to(video.device()), masks.targets.to(video.device())});
  }
  return out;
}

Tensor SALT::teacher_latent(const Tensor& video) const {
  if (config_.pixels()) return {};
  const torch::NoGradGuard no_grad;
  LACUNA_ASSERT(teacher_);
  const auto latent = teacher_->forward(video).to(torch::kFloat);  // [B, N, Dt]
  if (config_.loss.target_norm == "none") return latent;
  return at::layer_norm(latent, {latent.size(2)}, {}, {}, kTargetNormEps);
}

SALTPart SALT::part(const Tensor& video, const mask::TokenMasks& masks, int64_t group,
                    const Tensor& teacher_latent, Draws* draws) const {
  const auto& loss = config_.loss;
  SALTPart out{.masks = masks};
  out.latent = encoder_->forward(video, masks.context, draws);                           // [B, K, D]
  out.predicted = predictor_->forward(out.latent, masks.context, masks.targets, group);  // [B, M, P]
  if (config_.pixels()) {
    const auto cubes = target::cubes(video, config_.encoder, masks.targets);
    const auto units = target::cube_units(cubes, config_.encoder.in_chans, loss.norm_pix);
    out.target = (cubes - units.mean) / units.deviation;
    out.loss = distance(out.predicted, out.target, loss.pixel_exp, loss.pixel_divide);
  } else {
    out.target = nn::gather_tokens(teacher_latent, masks.targets);
    out.loss = distance(out.predicted, out.target, loss.latent_exp, loss.latent_divide);
  }
  return out;
}

Loss SALT::forward(const Batch& batch, Draws& draws) {
  const auto& video = batch.video;  // [B, C, T, H, W]
  ensure_teacher();
  const auto latent = teacher_latent(video);
  const auto masks = draw_masks(video, draws, [&](int64_t shortest) {
    return gather_->numbers(shortest, video.device()).min().item<int64_t>();
  });
  Loss loss;
  double seen = 0;
  for (size_t g = 0; g < masks.size(); ++g) {
    const auto part =
        this->part(video, masks[g], static_cast<int64_t>(g), latent, is_training() ? &draws : nullptr);
    loss.parts[str("mask", g)] = part.loss;
    loss.total = loss.total.defined() ? loss.total + part.loss : part.loss;
    seen += static_cast<double>(masks[g].context.size(1));
  }
  const auto groups = static_cast<double>(masks.size());
  loss.total = loss.total / groups;
  loss.stats["mask.seen_share"] = seen / groups / static_cast<double>(config_.encoder.grid().count());
  return loss;
}

void SALT::after_step(const Progress& progress) {
  if (!ema_) return;
  const auto& teacher = config_.teacher;
  ema_->update(nn::ema_ramp(teacher.momentum[0], teacher.momentum[1], static_cast<double>(progress.step - 1),
                            static_cast<double>(progress.steps) * teacher.momentum_scale));
}

Tensor SALT::tokens(const Batch& batch) {
  const torch::NoGradGuard no_grad;
  return encoder_->forward(batch.video).to(torch::kFloat);
}

Tensor SALT::features(const Batch& batch, const FeatureOptions& options) {
  if (options.pool == "token") fail("pool 'token'", "the encoder has no class token", "use pool = avg");
  return tokens(batch).mean(1);
}

InputSpec SALT::input() const {
  const auto& encoder = config_.encoder;
  return {.channels = encoder.in_chans,
          .size = encoder.img_size,
          .modality = "video",
          .frames = encoder.num_frames};
}

// Shows the last group, which hides most.
Preview SALT::preview(const Batch& batch, Draws& draws) {
  const torch::NoGradGuard no_grad;
  const auto& video = batch.video;
  const auto& encoder = config_.encoder;
  const auto grid = encoder.grid();
  const int64_t B = video.size(0), group = std::ssize(groups_) - 1;
  ensure_teacher();
  const auto masks = draw_masks(video, draws)[static_cast<size_t>(group)];
  const auto part = this->part(video, masks, group, teacher_latent(video), nullptr);
  // Tokens that the cut to one length left in neither list are hidden too.
  const auto seen = torch::zeros({B, grid.count()}, masks.context.options().dtype(torch::kBool))
                        .scatter(1, masks.context, true);
  Preview shown{.video = video, .hidden_cubes = seen.logical_not().view({B, grid.t, grid.h, grid.w})};
  const auto error = (part.predicted.to(torch::kFloat) - part.target).square();
  const auto place = [&](const Tensor& values) {  // [B, M] -> [B, t, h, w]
    return torch::zeros({B, grid.count()}, values.options())
        .scatter(1, masks.targets, values)
        .view({B, grid.t, grid.h, grid.w});
  };
  shown.cube_error = place(error.mean(2));
  shown.per_patch_units = config_.pixels() && config_.loss.norm_pix != "none";
  const auto guess = (part.target - part.target.mean({0, 1}, true)).square();
  const double spread = guess.sum().item<double>();
  if (spread > 0) shown.explained = 1 - error.sum().item<double>() / spread;
  if (!config_.pixels()) return shown;
  const auto ids = nn::all_tokens(B, grid.count(), video.device());
  auto cubes = target::cubes(video, encoder, ids);
  const auto units =
      target::cube_units(nn::gather_tokens(cubes, masks.targets), encoder.in_chans, config_.loss.norm_pix);
  const auto pixels = part.predicted.to(torch::kFloat) * units.deviation + units.mean;
  // What the cut to one length left in neither list is shown in the mean colour, not as if it were predicted.
  cubes = cubes.masked_fill(seen.logical_not().unsqueeze(-1), 0)
              .scatter(1, masks.targets.unsqueeze(-1).expand_as(pixels), pixels);
  shown.predicted_video = target::uncube(cubes, encoder);
  return shown;
}

namespace {

const Register<MethodInfo> registered{
    "salt",
    {.title = "Rethinking JEPA: Compute-Efficient Video SSL with Frozen Teachers",
     .paper =
         "Li, Huang, Li, Malach, Susskind, Thilak, Littwin; ICLR 2026; arXiv 2509.24317; on V-JEPA (Bardes "
         "et al., 2024; Assran et al., 2025)",
     .code =
         "none found; network, masks and probe as facebookresearch/vjepa2 @ c2963a4 (MIT) and jepa @ 51c59d5",
     .summary =
         "A teacher learns films by filling in the pixels of large hidden blocks; then it is frozen, and a "
         "student learns to predict its features where blocks are hidden. No moving teacher, so the loss "
         "says how "
         "good the student is. teacher.type = ema is V-JEPA, the baseline. The teacher needs broad data: on "
         "a "
         "narrow set a moving teacher can be better.",
     .parts =
         {"masker: 8 blocks of 15 % and 2 blocks of 70 % of the frame, all frames; about 90 % hidden",
          "encoder: ViT on visible cubes of 2 x 16 x 16, sine-cosine or rotary positions",
          "predictor: narrow ViT with a mask token for each group of masks",
          "target: pixels of a cube, channel by channel normalised (stage 1); a frozen teacher's features "
          "(stage 2)",
          "loss: squared error (stage 1), absolute error (stage 2), on hidden cubes"},
     .defaults = {"train.lr=6.25e-4", "train.warmup_lr=2e-4", "train.min_lr=1e-6",
                  "train.schedule=vjepa_cosine", "train.steps=240000", "train.weight_decay=0.04",
                  "train.weight_decay_end=0.4", "train.betas=[0.9, 0.95]", "train.clip_grad=0.02"},
     .make_config = [] { return std::make_unique<SALTConfig>(); },
     .make =
         [](const MethodConfig& config, Draws& draws) {
           return std::make_shared<SALT>(dynamic_cast<const SALTConfig&>(config), draws);
         },
     .tiny = {"stage=1", "encoder.arch=vit", "encoder.img_size=32", "encoder.patch_size=8",
              "encoder.num_frames=4", "encoder.embed_dim=24", "encoder.depth=2", "encoder.num_heads=2",
              "predictor.embed_dim=24", "predictor.depth=1", "predictor.num_heads=2", "train.clip_grad=0"},
     .names = salt_weight_names(),
     .modality = "video"}};

}  // namespace
}  // namespace lacuna
