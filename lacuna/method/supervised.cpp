#include "lacuna/method/supervised.h"

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna {

namespace {

/// A stream for what a whole batch draws together, named by the batch's first sample.
Stream batch_stream(Draws& draws, std::string_view name) {
  constexpr double kBits = 1 << 24;  // a float32 uniform has so many values
  const auto u = draws.uniform(name, {1, 2}).to(torch::kDouble);
  const auto part = [&](int64_t i) { return static_cast<uint64_t>(u[0][i].item<double>() * kBits); };
  return Stream(part(0) << 24 | part(1), name);
}

}  // namespace

void HeadConfig::fields(Fields& f) {
  f("num_classes", num_classes, "outputs of the head; 0: the data's classes").range(0);
  f("pool", pool, "what the head reads: mean of the patch tokens, or the class token")
      .choices({"avg", "token"});
}

SupervisedConfig::SupervisedConfig() { encoder.drop_path = 0.1; }

void SupervisedConfig::fields(Fields& f) {
  f.group("encoder", encoder);
  f.group("head", head);
  f.group("mixup", mixup);
}

void SupervisedConfig::resolve(const ConfigTable& table) { encoder.resolve(table, "encoder"); }

Supervised::Supervised(const SupervisedConfig& config, Draws& draws) : config_(config) {
  if (config.head.num_classes < 2)
    fail("head.num_classes", str(config.head.num_classes, " classes give nothing to tell apart"),
         "use data with labels of two classes or more");
  classifier_ = nn::make_classifier({config.encoder, config.head.num_classes, config.head.pool});
  nn::adopt(*this, *classifier_);
  classifier_->initialize(draws);
}

Loss Supervised::forward(const Batch& batch, Draws& draws) {
  const data::Mixup mixup(config_.mixup, config_.head.num_classes);
  const auto mixed = mixup(batch, batch_stream(draws, "mixup"));
  const auto logits =
      classifier_->logits(mixed.image, is_training() ? &draws : nullptr).to(torch::kFloat);  // [B, C]
  const auto target = mixed.target.to(logits.device());                                      // [B, C]
  const double right = logits.argmax(1).eq(target.argmax(1)).to(torch::kFloat).mean().item<double>();
  return {.total = soft_cross_entropy(logits, target), .parts = {}, .stats = {{"train_top1", right}}};
}

Tensor Supervised::features(const Batch& batch, const FeatureOptions& options) {
  if (options.pool == "token" && config_.head.pool != "token")
    fail("pool 'token'", "this classifier was trained on the mean of the patch tokens", "use pool = avg");
  const torch::NoGradGuard no_grad;
  return classifier_->features(batch.image, nullptr).to(torch::kFloat);
}

Preview Supervised::preview(const Batch& batch, Draws& /*draws*/) {
  const auto nothing = torch::zeros({batch.image.size(0), 1, 1}, torch::kBool);
  return {.image = batch.image, .hidden = nothing.to(batch.image.device()), .predicted = {}};
}

bool Supervised::decays(const std::string& name, const Tensor& parameter) const {
  return Method::decays(name, parameter) && !classifier_->spared_by_decay(name);
}

std::map<std::string, Tensor> Supervised::adapt(std::map<std::string, Tensor> given,
                                                const Json& source) const {
  nn::EncoderConfig from;
  ConfigTable table;
  table.add("encoder", from);
  for (const auto& [key, value] : leaves(source))
    if (table.has(key)) table.set(key, value, "the weights' config");
  auto fitted = classifier_->adapt(std::move(given), from);
  for (const auto& [name, tensor] : weights())
    if (classifier_->is_head(name)) fitted.emplace(name, tensor);
  return fitted;
}

Tensor soft_cross_entropy(const Tensor& logits, const Tensor& target) {
  return (-target * at::log_softmax(logits, 1)).sum(1).mean();
}

namespace {

const Register<MethodInfo> registered{
    "supervised",
    {.title = "Classification with labels",
     .paper = "the fine-tuning of He et al., CVPR 2022 (MAE), and Xie et al., CVPR 2022 (SimMIM)",
     .code = "facebookresearch/mae @ efb2a80 main_finetune.py; microsoft/SimMIM @ d3e29bc main_finetune.py",
     .summary = "An encoder with a linear head, trained on labels with mixup, cutmix, label smoothing and "
                "layer-wise "
                "learning rates. `lacuna eval finetune` trains it from pre-trained weights; `lacuna pretrain "
                "supervised` "
                "from scratch, as the baseline.",
     .parts = {"masker: none",
               "encoder: ViT, BEiT-style ViT, Swin, or a convolutional network under torchvision's names",
               "predictor: a linear layer on the mean of the patch tokens",
               "target: smoothed and mixed labels", "loss: cross-entropy"},
     .defaults = {"train.base_lr=5e-4", "train.warmup_epochs=5", "train.epochs=100",
                  "train.weight_decay=0.05", "train.betas=[0.9, 0.999]", "train.min_lr=1e-6",
                  "augment.scale=[0.08, 1.0]", "augment.interpolation=bicubic"},
     .make_config = [] { return std::make_unique<SupervisedConfig>(); },
     .make =
         [](const MethodConfig& config, Draws& draws) {
           return std::make_shared<Supervised>(dynamic_cast<const SupervisedConfig&>(config), draws);
         },
     .tiny = {"encoder.arch=vit", "head.num_classes=3"}}};

}  // namespace
}  // namespace lacuna
