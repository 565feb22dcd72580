// Golden cases of fine-tuning: main_finetune.py of facebookresearch/mae ("mae/finetune") and the transfer of
// weights in microsoft/SimMIM ("simmim/transfer"), by the very parts of `lacuna eval finetune`.

#include <charconv>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/method/golden.h"
#include "lacuna/method/supervised.h"
#include "lacuna/nn/relative_position.h"
#include "lacuna/train/optim.h"
#include "lacuna/train/schedule.h"

namespace lacuna::eval {
namespace {

/// [config.schedule] and the schedule inside [config.optim].
struct CosineConfig {
  double lr = 1e-3, min_lr = 0, warmup_epochs = 0, epochs = 1;
  void fields(Fields& f) {
    f("lr", lr, "peak rate").range(0);
    f("min_lr", min_lr, "last rate").range(0);
    f("warmup_epochs", warmup_epochs, "epochs of linear warm-up").range(0);
    f("epochs", epochs, "length").range(0);
  }
  double at(double epoch) const { return train::cosine_lr(epoch, epochs, warmup_epochs, lr, min_lr); }
};

struct FinetuneOptimConfig : CosineConfig {
  std::string name = "adamw";
  std::vector<double> betas{0.9, 0.999};
  double eps = 1e-8, weight_decay = 0.05, layer_decay = 1, clip_grad = 0;
  void fields(Fields& f) {
    CosineConfig::fields(f);
    f("name", name, "optimiser").choices({"adamw"});
    f("betas", betas, "averaging of gradient and square").range(0, 1);
    f("eps", eps, "added to the denominator").range(0);
    f("weight_decay", weight_decay, "decoupled weight decay").range(0);
    f("layer_decay", layer_decay, "rate of a layer over that of the next").range(0, 1);
    f("clip_grad", clip_grad, "largest global gradient norm; 0: off").range(0);
  }
};

/// [config.aug].
struct MixConfig {
  std::string mode = "mixup";
  double label_smoothing = 0.1;
  int64_t num_classes = 0;
  void fields(Fields& f) {
    f("mode", mode, "how the batch is mixed").choices({"mixup", "cutmix"});
    f("label_smoothing", label_smoothing, "share of the label spread over all classes").range(0, 1);
    f("num_classes", num_classes, "classes of the soft target").range(0);
  }
};

/// [config.encoder] as models_vit.vit_* is called.
struct FinetuneEncoderConfig : nn::EncoderConfig {
  int64_t num_classes = 1000;
  bool global_pool = true;
  Size2 ckpt_img_size{};
  void fields(Fields& f) {
    nn::EncoderConfig::fields(f);
    f("num_classes", num_classes, "outputs of the head").range(1);
    f("global_pool", global_pool, "mean of the patch tokens and fc_norm instead of norm and the class token");
    f("ckpt_img_size", ckpt_img_size, "picture that the checkpoint's positions are for").range(0);
  }
};

struct FinetuneCase {
  FinetuneEncoderConfig encoder;
  MixConfig aug;
  CosineConfig schedule;
  FinetuneOptimConfig optim;
  void fields(Fields& f) {
    f.group("encoder", encoder);
    f.group("aug", aug);
    f.group("schedule", schedule);
    f.group("optim", optim);
  }
};

std::shared_ptr<Supervised> make_supervised(const nn::EncoderConfig& encoder, int64_t classes,
                                            const std::string& pool) {
  SupervisedConfig config;
  config.encoder = encoder;
  config.head = {classes, pool};
  SeededDraws unused(0);
  return std::make_shared<Supervised>(config, unused);
}

/// lr_scale.<prefix><name> and weight_decay.<prefix><name> of every parameter.
void add_groups(const std::vector<train::ParamGroup>& groups, const std::string& prefix, io::Tensors& out) {
  for (const auto& group : groups)
    for (const auto& name : group.names) {
      out["lr_scale." + prefix + name] = torch::tensor(static_cast<float>(group.lr_scale));
      out["weight_decay." + prefix + name] = torch::tensor(static_cast<float>(group.weight_decay));
    }
}

/// The shortest decimal that is this float32: what the official code held in double before it was recorded. A
/// cutmix box is cut off to whole pixels, where the difference can show.
double before_rounding(const Tensor& recorded) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, recorded.item<float>()).ptr;
  double value = 0;
  std::from_chars(text, end, value);
  return value;
}

data::Blend recorded_blend(const GoldenCase& golden, const MixConfig& aug, Size2 image) {
  const double lam = before_rounding(golden.input("lam"));
  if (aug.mode == "mixup") return {.lam = lam, .box = std::nullopt};
  const auto center = golden.input("cut_center").to(torch::kLong).flatten();
  return data::cutmix_blend(image, lam, center[0].item<int64_t>(), center[1].item<int64_t>());
}

/// Two steps and more on the mixed batch, at the rates of `step_epochs`.
void take_steps(const GoldenCase& golden, Supervised& model, const data::Mixed& mixed,
                const FinetuneOptimConfig& config, io::Tensors& out) {
  const auto optimizer =
      train::make_adamw(train::parameter_groups(model, config.weight_decay, config.layer_decay),
                        config.betas.at(0), config.betas.at(1), config.eps);
  const auto epochs = golden.input("step_epochs").to(torch::kDouble).contiguous();
  for (int64_t step = 0; step < epochs.numel(); ++step) {
    optimizer->zero_grad();
    const auto loss = soft_cross_entropy(model.logits(mixed.image), mixed.target);
    loss.backward();
    const double norm = train::gradient_norm(optimizer->groups());
    if (config.clip_grad > 0) train::clip_gradients(optimizer->groups(), norm, config.clip_grad);
    optimizer->step(config.at(epochs[step].item<double>()));
    out[str("loss.step", step)] = loss.detach();
    out[str("grad_norm.step", step)] = torch::tensor(static_cast<float>(norm));
  }
  for (const auto& item : model.named_parameters())
    out["stepped." + item.key()] = item.value().detach().clone();
}

io::Tensors finetune(const GoldenCase& golden) {
  FinetuneCase config;
  ConfigTable table;
  table.add("", config);
  table.merge(golden.config, "case.toml");
  config.encoder.resolve(table, "encoder");
  const auto model = make_supervised(config.encoder, config.encoder.num_classes,
                                     config.encoder.global_pool ? "avg" : "token");
  load_weights(*model, golden.weights, "weights.safetensors");

  io::Tensors out;
  // The checkpoint's positions, resized, are what the weights file holds: they come through the same door.
  auto from = config.encoder;
  if (config.encoder.ckpt_img_size.area() > 0) from.img_size = config.encoder.ckpt_img_size;
  if (golden.inputs.count("ckpt_pos_embed"))
    out["pos_embed"] =
        model->classifier().adapt({{"pos_embed", golden.input("ckpt_pos_embed")}}, from).at("pos_embed");

  const auto image = golden.input("imgs"), label = golden.input("labels");
  const auto blend = recorded_blend(golden, config.aug, config.encoder.img_size);
  const int64_t classes = config.encoder.num_classes;
  const auto mixed = data::mix(image, label, classes, config.aug.label_smoothing, {blend});
  out["mixed"] = mixed.image;
  out["soft_target"] = mixed.target;
  const auto features = model->classifier().features(mixed.image, nullptr);
  const auto logits = model->classifier().logits_of(features);
  const auto loss = soft_cross_entropy(logits, mixed.target);
  loss.backward();
  add_gradients(*model, out);
  out["features"] = features.detach();
  out["logits"] = logits.detach();
  out["loss"] = loss.detach();
  const auto plain = data::mix(image, label, classes, config.aug.label_smoothing, {data::Blend{}});
  out["loss.label_smoothing"] = soft_cross_entropy(model->logits(image), plain.target).detach();

  const auto epochs = golden.input("epochs").to(torch::kDouble).contiguous();
  std::vector<float> rates;
  for (int64_t i = 0; i < epochs.numel(); ++i)
    rates.push_back(static_cast<float>(config.schedule.at(epochs[i].item<double>())));
  out["lr"] = torch::tensor(rates);
  add_groups(train::parameter_groups(*model, config.optim.weight_decay, config.optim.layer_decay), "", out);
  take_steps(golden, *model, mixed, config.optim, out);
  return out;
}

const Register<GoldenKind> registered_finetune{"mae/finetune", {finetune}};

/// [config.swin] and [config.vit] of a transfer case: the model that is fine-tuned, and what it comes from.
struct TransferCase {
  struct Swin {
    int64_t src_window = 7, window_size = 7, embed_dim = 96, num_classes = 1000;
    std::vector<int64_t> depths, num_heads;
    Size2 patch_size{4, 4}, img_size{224, 224};
    double mlp_ratio = 4;
    void fields(Fields& f) {
      f("src_window", src_window, "window of the source").range(1);
      f("window_size", window_size, "window of the fine-tuned model").range(1);
      f("embed_dim", embed_dim, "width of the first stage").range(1);
      f("num_classes", num_classes, "outputs").range(1);
      f("depths", depths, "blocks of each stage").range(1);
      f("num_heads", num_heads, "heads of each stage").range(1);
      f("patch_size", patch_size, "pixels").range(1);
      f("img_size", img_size, "pixels").range(1);
      f("mlp_ratio", mlp_ratio, "hidden width over width").range(0);
    }
  } swin;
  struct ViT {
    int64_t src_grid = 14, grid = 14, depth = 12, num_heads = 12, embed_dim = 768, num_classes = 1000;
    Size2 patch_size{16, 16}, img_size{224, 224};
    double mlp_ratio = 4;
    void fields(Fields& f) {
      f("src_grid", src_grid, "patches a side of the source").range(1);
      f("grid", grid, "patches a side of the fine-tuned model").range(1);
      f("depth", depth, "blocks").range(1);
      f("num_heads", num_heads, "heads").range(1);
      f("embed_dim", embed_dim, "width").range(1);
      f("num_classes", num_classes, "outputs").range(1);
      f("patch_size", patch_size, "pixels").range(1);
      f("img_size", img_size, "pixels").range(1);
      f("mlp_ratio", mlp_ratio, "hidden width over width").range(0);
    }
  } vit;
  struct Optim {
    double base_lr = 1, weight_decay = 0.05, layer_decay = 1, warmup_lr = 0, min_lr = 0, total_iters = 1,
           warmup_iters = 0, gamma = 0.1, lr_min_rate_linear = 0.01;
    std::vector<double> milestones, group_lr;
    void fields(Fields& f) {
      f("base_lr", base_lr, "peak rate").range(0);
      f("weight_decay", weight_decay, "decoupled weight decay").range(0);
      f("layer_decay", layer_decay, "rate of a layer over that of the next").range(0, 1);
      f("warmup_lr", warmup_lr, "first rate").range(0);
      f("min_lr", min_lr, "last rate").range(0);
      f("total_iters", total_iters, "length").range(0);
      f("warmup_iters", warmup_iters, "iterations of warm-up").range(0);
      f("gamma", gamma, "factor at a milestone").range(0);
      f("lr_min_rate_linear", lr_min_rate_linear, "last rate of the linear schedule over the first").range(0);
      f("milestones", milestones, "iterations").range(0);
      f("group_lr", group_lr, "peak rates of the groups").range(0);
    }
  } optim;
  void fields(Fields& f) {
    f.group("swin", swin);
    f.group("vit", vit);
    f.group("optim", optim);
  }
};

nn::EncoderConfig swin_encoder(const TransferCase::Swin& own) {
  nn::EncoderConfig config;
  config.arch = "swin";
  config.img_size = own.img_size, config.patch_size = own.patch_size;
  config.embed_dim = own.embed_dim, config.depths = own.depths, config.num_heads = own.num_heads;
  config.window_size = own.window_size, config.mlp_ratio = own.mlp_ratio, config.norm_eps = 1e-5;
  return config;
}

nn::EncoderConfig vit_encoder(const TransferCase::ViT& own) {
  nn::EncoderConfig config;
  config.arch = "beit-vit";
  config.img_size = own.img_size, config.patch_size = own.patch_size;
  config.embed_dim = own.embed_dim, config.depth = own.depth, config.num_heads = {own.num_heads};
  config.mlp_ratio = own.mlp_ratio, config.init_values = 0.1;
  return config;
}

Tensor schedule_table(const TransferCase::Optim& optim, const std::string& type, const Tensor& iterations) {
  const train::IterationSchedule schedule{.type = type,
                                          .steps = optim.total_iters,
                                          .warmup = optim.warmup_iters,
                                          .min_lr = optim.min_lr,
                                          .warmup_lr = optim.warmup_lr,
                                          .milestones = optim.milestones,
                                          .gamma = optim.gamma,
                                          .lr_min_rate = optim.lr_min_rate_linear};
  std::vector<float> rates;
  for (int64_t i = 0; i < iterations.numel(); ++i)
    for (const double lr : optim.group_lr)
      rates.push_back(
          static_cast<float>(schedule.at(static_cast<double>(iterations[i].item<int64_t>()), lr)));
  return torch::tensor(rates).view({iterations.numel(), static_cast<int64_t>(optim.group_lr.size())});
}

io::Tensors transfer(const GoldenCase& golden) {
  TransferCase config;
  ConfigTable table;
  table.add("", config);
  table.merge(golden.config, "case.toml");
  const auto& swin = config.swin;
  const auto& vit = config.vit;
  const auto model_of = [&](const nn::EncoderConfig& encoder, int64_t classes) {
    return make_supervised(encoder, classes, "avg");
  };
  const auto swin_model = model_of(swin_encoder(swin), swin.num_classes),
             vit_model = model_of(vit_encoder(vit), vit.num_classes);

  io::Tensors out;
  const auto square = [](int64_t side) { return Size2{side, side}; };
  out["swin_table"] = nn::resize_relative_table(golden.input("swin_table"), square(swin.src_window),
                                                square(swin.window_size), false);
  out["vit_table"] =
      nn::resize_relative_table(golden.input("vit_table"), square(vit.src_grid), square(vit.grid), true);
  for (const auto& [name, buffer] : swin_model->weights()) {
    if (name == "layers.0.blocks.0.attn.relative_position_index")
      out["swin_relative_position_index"] = buffer;
    if (name == "layers.0.blocks.1.attn_mask") out["swin_attn_mask"] = buffer;
  }
  out["vit_relative_position_index"] = vit_model->weights().at("blocks.0.attn.relative_position_index");
  const auto& optim = config.optim;
  add_groups(train::parameter_groups(*swin_model, optim.weight_decay, optim.layer_decay), "swin.", out);
  add_groups(train::parameter_groups(*vit_model, optim.weight_decay, optim.layer_decay), "vit.", out);
  const auto iterations = golden.input("iters").to(torch::kLong).contiguous();
  out["lr.cosine"] = schedule_table(optim, "timm_cosine", iterations);
  out["lr.multistep"] = schedule_table(optim, "multistep", iterations);
  out["lr.linear"] = schedule_table(optim, "linear", iterations);
  return out;
}

const Register<GoldenKind> registered_transfer{"simmim/transfer", {transfer}};

}  // namespace
}  // namespace lacuna::eval
