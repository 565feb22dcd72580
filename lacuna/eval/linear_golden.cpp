// Golden cases of linear probing: main_linprobe.py of facebookresearch/mae, by the very probe of `lacuna eval
// linear`.

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/eval/linear.h"
#include "lacuna/method/golden.h"
#include "lacuna/nn/vit.h"

namespace lacuna::eval {
namespace {

/// [config.head].
struct HeadConfig {
  double bn_eps = 1e-6, bn_momentum = 0.1;
  bool bn_affine = false;
  void fields(Fields& f) {
    f("bn_eps", bn_eps, "epsilon of the batch norm").range(0);
    f("bn_momentum", bn_momentum, "share of the batch in the running statistics").range(0, 1);
    f("bn_affine", bn_affine, "learned scale and shift of the batch norm");
  }
};

/// [config.optim].
struct OptimConfig {
  std::string name = "lars";
  double lr = 0.1, weight_decay = 0, momentum = 0.9, trust_coefficient = 0.001;
  int64_t steps = 1;
  void fields(Fields& f) {
    f("name", name, "optimiser").choices({"lars"});
    f("lr", lr, "learning rate, constant").range(0);
    f("weight_decay", weight_decay, "added to gradients of tensors with two dimensions or more").range(0);
    f("momentum", momentum, "of the update").range(0, 1);
    f("trust_coefficient", trust_coefficient, "step length over parameter norm").range(0);
    f("steps", steps, "steps on the one batch").range(1);
  }
};

/// [config.encoder] as models_vit.VisionTransformer is called: a ViT with a classifier.
struct EncoderConfig : nn::ViTConfig {
  int64_t num_classes = 1000;
  bool global_pool = false;
  void fields(Fields& f) {
    nn::ViTConfig::fields(f);
    f("num_classes", num_classes, "outputs of the head").range(1);
    f("global_pool", global_pool,
      "mean of the patch tokens, then fc_norm, instead of norm and the class token");
  }
};

struct CaseConfig {
  EncoderConfig encoder;
  HeadConfig head;
  OptimConfig optim;
  void fields(Fields& f) {
    f.group("encoder", encoder);
    f.group("head", head);
    f.group("optim", optim);
  }
};

void copy_weight(const GoldenCase& golden, const std::string& name, const Tensor& into) {
  const torch::NoGradGuard no_grad;
  const auto found = golden.weights.find(name);
  if (found == golden.weights.end() || found->second.sizes() != into.sizes())
    fail("weights.safetensors", str("no tensor '", name, "' of shape ", into.sizes()),
         "record the case again");
  into.copy_(found->second);
}

/// [B, D]: what the official model hands to its head.
Tensor frozen_features(const GoldenCase& golden, const EncoderConfig& config) {
  const torch::NoGradGuard no_grad;
  nn::ViT encoder(config);
  for (const auto& item : encoder.named_parameters())
    if (!(config.global_pool && item.key().starts_with("norm.")))
      copy_weight(golden, item.key(), item.value());
  const auto tokens = encoder.run_blocks(encoder.prepend_class(encoder.embed(golden.input("imgs"))), nullptr);
  if (!config.global_pool) return encoder.pool(encoder.norm(tokens), "token");
  nn::LayerNorm fc_norm(config.embed_dim, config.norm_eps);
  copy_weight(golden, "fc_norm.weight", fc_norm.weight);
  copy_weight(golden, "fc_norm.bias", fc_norm.bias);
  return fc_norm.forward(encoder.pool(tokens, "avg"));
}

LinearProbe make_probe(const GoldenCase& golden, const CaseConfig& config) {
  SeededDraws unused(0);
  const LinearProbe probe({.dim = config.encoder.embed_dim,
                           .classes = config.encoder.num_classes,
                           .bn_eps = config.head.bn_eps,
                           .bn_momentum = config.head.bn_momentum,
                           .bn_affine = config.head.bn_affine},
                          1, unused);
  for (const auto& [name, tensor] : probe.parameters(0)) copy_weight(golden, name, tensor);
  for (const auto& [name, tensor] : probe.statistics()) copy_weight(golden, name, tensor);
  return probe;
}

io::Tensors linprobe(const GoldenCase& golden) {
  CaseConfig config;
  ConfigTable table;
  table.add("", config);
  table.merge(golden.config, "case.toml");
  config.encoder.resolve(table, "encoder");

  const auto x = frozen_features(golden, config.encoder);
  const auto& y = golden.input("labels");
  const auto probe = make_probe(golden, config);
  const auto& optim = config.optim;
  const auto optimizer =
      probe.make_optimizer({1}, optim.weight_decay, optim.momentum, optim.trust_coefficient);

  io::Tensors out{{"features", x}};
  // The running statistics move with every forward pass in training: the first step's logits come from a
  // twin.
  const auto twin = make_probe(golden, config);
  out["logits"] = twin.logits(x, /*training=*/true)[0];
  out["loss"] = torch::cross_entropy_loss(out["logits"], y);
  out["loss"].backward();
  for (const auto& [name, tensor] : twin.parameters(0)) out["grad." + name] = tensor.grad();

  for (int64_t step = 0; step < optim.steps; ++step) probe.train_step(*optimizer, x, y, optim.lr);
  for (const auto& [name, tensor] : probe.parameters(0)) out["stepped." + name] = tensor;
  out["running_mean"] = probe.statistics()["head.0.running_mean"];
  out["running_var"] = probe.statistics()["head.0.running_var"];
  out["logits.eval"] = probe.logits(x, /*training=*/false)[0];
  out["loss.eval"] = torch::cross_entropy_loss(out["logits.eval"], y);
  for (auto& [name, tensor] : out) tensor = tensor.detach();
  return out;
}

const Register<GoldenKind> registered{"*/linprobe", {linprobe}};

}  // namespace
}  // namespace lacuna::eval
