#include "lacuna/method/r_amt.h"

#include <algorithm>
#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/subset.h"
#include "lacuna/nn/activation_checkpoint.h"
#include "lacuna/nn/init.h"

namespace lacuna {

namespace {

constexpr double kStartTemperature = 0.07;  // of a CLIP that was not trained
constexpr double kEps = 1e-8;

/// The tower's maskable weights that `config` chooses, in the official order.
std::vector<std::string> chosen_weights(const RAmtMaskConfig& config, int64_t depth) {
  const auto has = [&](const char* module) {
    return std::find(config.modules.begin(), config.modules.end(), module) != config.modules.end();
  };
  std::vector<std::string> out;
  if (has("conv1")) out.emplace_back("conv1.weight");
  for (int64_t i = 0; i < depth; ++i) {
    if (!config.layers.empty() &&
        std::find(config.layers.begin(), config.layers.end(), i) == config.layers.end())
      continue;
    const auto block = str("transformer.resblocks.", i, ".");
    if (has("attn") || has("in_proj")) out.push_back(block + "attn.in_proj_weight");
    if (has("attn") || has("out_proj")) out.push_back(block + "attn.out_proj.weight");
    if (has("mlp") || has("c_fc")) out.push_back(block + "mlp.c_fc.weight");
    if (has("mlp") || has("c_proj")) out.push_back(block + "mlp.c_proj.weight");
  }
  return out;
}

}  // namespace

void RAmtMaskConfig::fields(Fields& f) {
  f("modules", modules,
    "what is masked: conv1 (patch embedding), attn (in_proj and out_proj), mlp (c_fc and c_proj), or single "
    "matrices; AMT: conv1 and attn, MMT: mlp, PMT: all")
      .choices({"conv1", "attn", "mlp", "in_proj", "out_proj", "c_fc", "c_proj"});
  f("layers", layers, "blocks whose weights are masked, counted from 0; empty: all").range(0);
  f("init", init, "scores at the start: all mask.scale, or uniform between 0 and it")
      .choices({"ones", "uniform"});
  f("scale", scale, "scores at the start").range(0);
  f("threshold", threshold, "a weight counts where its score is above this");
}

void RAmtLossConfig::fields(Fields& f) {
  f("mask_weight", mask_weight, "weight of the scores' norms, which pushes scores down; 0: off").range(0);
  f("gdr_lambda", gdr_lambda,
    "gradients that disagree with distillation are dropped to 1 - this; 0: no gradient dropout (AMT)")
      .range(0, 1);
  f("gdr_temperature", gdr_temperature, "of the distillation").range(1e-3);
  f("fuse_alpha", fuse_alpha, "share of the unmasked tower's logits in what is distilled").range(0, 1);
}

void RAmtHeadConfig::fields(Fields& f) {
  f("num_classes", num_classes, "classes that have text features; 0: the data's").range(0);
  f("classes", classes, "told apart: all, or the first (base) or second (new) half of them")
      .choices({"all", "base", "new"});
  f("class_names", class_names, "what the text tower calls the classes; empty: as the data do");
}

void RAmtBaseConfig::fields(Fields& f) {
  f("weights", weights, "the CLIP to mask: a run, a checkpoint, or weights; empty: one drawn by the seed");
  f("templates", templates, "texts of a class, {} stands for its name");
  f("template_mean", template_mean,
    "over templates: of the features as they are (R-AMT), or of the normalised ones (OpenAI's notebook)")
      .choices({"features", "normalized"});
  f("settings", settings,
    "where base.weights is empty: KEY=VALUE settings of a CLIP that is trained first, in RUN/base, on the "
    "same "
    "data with captions of templates; empty: none is trained");
}

void RAmtConfig::fields(Fields& f) {
  f("tune", tune,
    "what is learnt: masks; for comparison the classes' vectors (head: a linear probe that begins at the "
    "text "
    "features), or all weights of the image tower (tower: full fine-tuning)")
      .choices({"masks", "head", "tower"});
  f.group("encoder", encoder);
  f("projection.dim", dim, "dimensions of the space that pictures and texts share").range(1);
  f.group("mask", mask);
  f.group("loss", loss);
  f.group("head", head);
  f.group("base", base);
}

void RAmtConfig::resolve(const ConfigTable& table) {
  nn::ClipTextConfig text;
  nn::resolve_clip(table, encoder, text, dim);
  for (const int64_t layer : mask.layers)
    if (layer >= encoder.depth)
      fail("mask.layers", str("there is no block ", layer, " among ", encoder.depth),
           "blocks are counted from 0");
  if (chosen_weights(mask, encoder.depth).empty())
    fail("mask.modules", "nothing is masked", "name one of conv1, attn, mlp");
  const std::string saving = "train.grad_checkpointing";
  if (tune == "masks" && loss.gdr_lambda > 0 && table.has(saving) && table.get(saving).get<bool>())
    fail(saving, "gradient dropout takes two losses' gradients apart, which blocks computed again can't give",
         "leave it off, or set loss.gdr_lambda=0");
}

Tensor drop_gradient(const Tensor& task, const Tensor& kl, const Tensor& u, double lambda) {
  const auto agreement = (task.sign() * (task + kl) / (task.abs() + kl.abs() + kEps) + 1) / 2;
  return ((1 - lambda) + lambda * agreement.gt(u).to(task.scalar_type())) * task;
}

RAmt::RAmt(const RAmtConfig& config, Draws& draws) : config_(config) {
  if (config.head.num_classes < 2)
    fail("head.num_classes", str(config.head.num_classes, " classes give nothing to tell apart"),
         "use data with labels of two classes or more");
  visual_ = register_module("visual", std::make_shared<nn::ClipVision>(config.encoder, config.dim));
  visual_->initialize(draws);
  const auto tower = nn::named_tensors(*visual_);
  for (auto& parameter : visual_->parameters()) parameter.requires_grad_(config.tune == "tower");
  logit_scale_ = register_buffer("logit_scale", torch::tensor(-std::log(kStartTemperature), torch::kFloat));
  const auto rows = torch::zeros({config.head.num_classes, config.dim});
  nn::normal_(rows, 1, draws, "text_features");
  text_features_ = config.tune == "head" ? register_parameter("text_features", nn::unit_rows(rows))
                                         : register_buffer("text_features", nn::unit_rows(rows));
  std::vector<std::string> names;
  if (config.tune == "masks") names = chosen_weights(config.mask, config.encoder.depth);
  std::vector<Tensor> weights;
  for (const auto& name : names) weights.push_back(tower.at(name));
  masks_ = std::make_shared<nn::WeightMasks>(names, weights, config.mask.threshold);
  nn::adopt(*this, *masks_);
  masks_->initialize(config.mask.init, config.mask.scale, draws);
  gather_ = register_module("gather", std::make_shared<nn::RowGather>());
}

void RAmt::shuffle_masks(uint64_t seed) {
  const torch::NoGradGuard no_grad;
  const auto& masks = *masks_;
  for (size_t k = 0; k < masks.scores().size(); ++k) {
    const auto flat = masks.scores()[k].view({-1});
    const auto order = Stream(seed, masks.names()[k]).permutation(flat.numel());
    flat.copy_(flat.index_select(0, torch::tensor(order)));
  }
}

Tensor RAmt::logits(const Tensor& image, const Tensor& text, bool masked) const {
  const auto hook = masks_->hook();
  const auto features = visual_->forward(image, masked ? &hook : nullptr).to(torch::kFloat);
  return logit_scale_.exp() * nn::unit_rows(features).mm(text.t());
}

RAmtObjectives RAmt::objectives(const Tensor& image, const Tensor& label, const Tensor& text,
                                bool distil) const {
  const auto hook = masks_->hook();
  RAmtObjectives out;
  out.features = nn::unit_rows(visual_->forward(image, &hook).to(torch::kFloat));
  out.logits = logit_scale_.exp() * out.features.mm(text.t());
  out.main = torch::cross_entropy_loss(out.logits, label.to(image.device()));
  out.task = out.main;
  if (config_.loss.mask_weight > 0 && !masks_->scores().empty()) {
    auto norms = torch::zeros({}, out.main.options());
    for (const auto& score : masks_->scores()) norms = norms + score.norm();
    out.mask = config_.loss.mask_weight * norms;
    out.task = out.main + out.mask;
  }
  if (!distil) return out;
  {
    const torch::NoGradGuard no_grad;
    out.teacher_logits = logits(image, text, /*masked=*/false);
  }
  const double T = config_.loss.gdr_temperature, alpha = config_.loss.fuse_alpha;
  const auto fused = alpha * out.teacher_logits + (1 - alpha) * out.logits;
  out.kl = -(at::softmax(fused / T, 1) * at::log_softmax(out.logits / T, 1)).sum(1).mean() * (T * T);
  return out;
}

Tensor RAmt::candidates() const {
  const auto [from, to] = data::class_range(config_.head.classes, config_.head.num_classes);
  return text_features_.slice(0, from, to);
}

uint64_t RAmt::step_seed(Draws& draws) const {
  constexpr double kBits = 1 << 24;  // a float32 uniform has so many values
  auto u = draws.uniform("dropout", {1, 2}).to(torch::kDouble);
  if (gather_->world > 1) u = gather_->sum(gather_->rank == 0 ? u : torch::zeros_like(u)).detach();
  const auto part = [&](int64_t i) { return static_cast<uint64_t>(u[0][i].item<double>() * kBits); };
  return part(0) << 24 | part(1);
}

Loss RAmt::forward(const Batch& batch, Draws& draws) {
  const bool drops = is_training() && config_.tune == "masks" && config_.loss.gdr_lambda > 0;
  // Gradients of two losses are taken apart below, which blocks computed again can't give.
  const nn::ActivationCheckpointing checkpointing(nn::ActivationCheckpointing::active() && !drops);
  const auto [from, to] = data::class_range(config_.head.classes, config_.head.num_classes);
  const auto rows = batch.label.ge(from).logical_and(batch.label.lt(to)).nonzero().flatten();
  if (rows.numel() == 0)
    fail("r-amt", str("a batch without a label of head.classes ", config_.head.classes),
         "use labelled data, and the same classes for data.classes");
  const auto image = batch.image.index_select(0, rows.to(batch.image.device()));
  const auto label = batch.label.index_select(0, rows) - from;
  const auto found = objectives(image, label, candidates(), /*distil=*/drops);
  Loss loss{.total = found.task, .parts = {{"main", found.main.detach()}}, .stats = {}};
  if (config_.tune == "masks") loss.stats["sparsity"] = masks_->sparsity();
  loss.stats["train_top1"] = found.logits.argmax(1).cpu().eq(label).to(torch::kFloat).mean().item<double>();
  if (found.mask.defined()) loss.parts["mask"] = found.mask.detach();
  if (!found.kl.defined()) return loss;

  loss.parts["kl"] = found.kl.detach();
  const auto& scores = masks_->scores();
  const auto kl = torch::autograd::grad({found.kl}, scores, {}, /*retain_graph=*/true);
  const auto task = torch::autograd::grad({found.task}, scores);
  const auto seed = step_seed(draws);
  auto total = found.task.detach();
  for (size_t k = 0; k < scores.size(); ++k) {
    const auto averaged = [&](const Tensor& gradient) {
      if (gather_->world == 1) return gradient;
      return gather_->sum(gradient).detach() / static_cast<double>(gather_->world);
    };
    const auto u = SeededDraws(seed).uniform(masks_->names()[k], scores[k].sizes()).to(image.device());
    const auto kept = drop_gradient(averaged(task[k]), averaged(kl[k]), u, config_.loss.gdr_lambda);
    // 0, with the gradient that is wanted.
    total = total + ((scores[k] - scores[k].detach()) * kept).sum();
  }
  loss.total = total;
  return loss;
}

Tensor RAmt::features(const Batch& batch, const FeatureOptions& options) {
  if (options.pool != "default") {
    const auto x = tokens(batch);
    return options.pool == "token" ? x.select(1, 0) : x.slice(1, 1).mean(1);
  }
  const torch::NoGradGuard no_grad;
  const auto hook = masks_->hook();
  return visual_->forward(batch.image, &hook).to(torch::kFloat);
}

Tensor RAmt::tokens(const Batch& batch) {
  const torch::NoGradGuard no_grad;
  const auto hook = masks_->hook();
  return visual_->norm(visual_->hidden(batch.image, -1, &hook)).to(torch::kFloat);
}

Preview RAmt::preview(const Batch& batch, Draws& /*draws*/) {
  const torch::NoGradGuard no_grad;
  const auto hook = masks_->hook();
  const auto grid = config_.encoder.grid();
  const auto change = (visual_->hidden(batch.image, -1, &hook) - visual_->hidden(batch.image)).slice(1, 1);
  Preview out;
  out.image = batch.image;
  out.hidden = torch::zeros({batch.image.size(0), 1, 1}, torch::kBool).to(batch.image.device());
  if (config_.tune != "masks") return out;
  out.heat = change.norm(2, 2).view({-1, grid.h, grid.w});
  out.heat_title = "moved by the mask";
  return out;
}

std::map<std::string, Tensor> RAmt::adapt(std::map<std::string, Tensor> weights,
                                          const Json& /*source*/) const {
  for (size_t k = 0; k < masks_->names().size(); ++k) {
    const auto found = weights.find(masks_->names()[k]);
    if (found == weights.end() || found->second.scalar_type() != torch::kByte) continue;
    const auto& score = masks_->scores()[k];
    if (found->second.numel() == (score.numel() + 7) / 8)
      found->second = nn::unpack_bits(found->second, score.numel()).view(score.sizes());
  }
  return weights;
}

namespace {

const Register<MethodInfo> registered{
    "r-amt",
    {.title = "Regularized Mask Tuning: Uncovering Hidden Knowledge in Pre-trained Vision-Language Models",
     .paper = "Zheng, Wu, Feng, Zhu, Liu, Zhao, Zha, Chen, Shen; ICCV 2023; arXiv 2307.15049",
     .code = "wuw2019/R-AMT @ 07f8d2c (MIT)",
     .summary =
         "A CLIP is adapted to a few labelled pictures by switching weights of its image tower off. Each "
         "masked weight has a score; the weight counts where the score is above a threshold. Gradients "
         "that disagree with distillation from the unmasked CLIP are dropped at random. A task is stored "
         "as one bit a masked weight.",
     .parts = {"masker: binary masks over frozen weights (patch embedding and attention; MLP on request)",
               "encoder: CLIP's image tower; classes are text features of prompts",
               "target: labels of a few pictures a class, and the unmasked CLIP's logits",
               "loss: cross-entropy and the scores' norms; gradient dropout regularity",
               "evaluation: fewshot (shots, seeds, base-to-new)"},
     .defaults = {"train.lr=8e-5", "train.epochs=30", "train.batch_size=32", "train.weight_decay=0",
                  "train.betas=[0.9, 0.999]", "train.warmup_epochs=0", "train.schedule=cosine",
                  "augment.scale=[0.5, 1.0]", "augment.interpolation=bicubic"},
     .make_config = [] { return std::make_unique<RAmtConfig>(); },
     .make =
         [](const MethodConfig& config, Draws& draws) {
           return std::make_shared<RAmt>(dynamic_cast<const RAmtConfig&>(config), draws);
         },
     .tiny = {"encoder.arch=clip_vit", "encoder.num_heads=2", "projection.dim=8", "head.num_classes=3",
              "mask.threshold=0.0099"}}};

}  // namespace
}  // namespace lacuna
