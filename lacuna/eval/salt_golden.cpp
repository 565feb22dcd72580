// Golden cases of SALT that the method's own room can't hold: V-JEPA's schedules and its attentive probe.

#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/method/golden.h"
#include "lacuna/nn/attentive.h"
#include "lacuna/nn/weights.h"
#include "lacuna/train/schedule.h"

namespace lacuna::eval {
namespace {

constexpr double kShownUnit = 1e-3;  // of the case's learning rates

io::Tensors schedule(const GoldenCase& golden) {
  const auto& optim = golden.config.at("optim");
  const auto number = [&](const char* key, double otherwise) { return optim.value(key, otherwise); };
  const double ipe = number("ipe", 1), epochs = number("epochs", 1), lr = number("lr", 1e-3);
  const double planned = std::floor(number("ipe_scale", 1) * epochs * ipe),
               warmup = std::floor(number("warmup", 0) * ipe), decay = number("weight_decay", 0.04);
  std::vector<float> rates, decays;
  for (int64_t k = 1; k <= std::llround(epochs * ipe); ++k) {
    const auto step = static_cast<double>(k);
    rates.push_back(static_cast<float>(
        train::vjepa_lr(step, planned, warmup, lr, number("final_lr", 0), number("start_lr", lr)) /
        kShownUnit));
    decays.push_back(static_cast<float>(
        train::cosine_weight_decay(step, planned, decay, number("final_weight_decay", decay))));
  }
  return {{"lr", torch::tensor(rates)}, {"wd", torch::tensor(decays)}};
}

io::Tensors probe(const GoldenCase& golden) {
  const auto& keys = golden.config.at("probe");
  const nn::AttentiveConfig own;
  // The layouts are told apart by the projection that only the older one has.
  const bool older = golden.weights.count("pooler.cross_attention_block.xattn.proj.weight") != 0;
  const nn::AttentiveConfig config{.layout = older ? "vjepa" : "vjepa2",
                                   .embed_dim = keys.value("embed_dim", own.embed_dim),
                                   .num_heads = keys.value("num_heads", own.num_heads),
                                   .depth = keys.value("depth", own.depth),
                                   .num_classes = keys.value("num_classes", own.num_classes),
                                   .mlp_ratio = keys.value("mlp_ratio", own.mlp_ratio),
                                   .norm_eps = keys.value("norm_eps", own.norm_eps)};
  nn::check_attentive(config);
  const auto model = std::make_shared<nn::AttentiveClassifier>(config);
  nn::load_weights(nn::named_tensors(*model), golden.weights, "weights.safetensors");
  const auto logits = model->forward(golden.input("features"));
  const auto loss = torch::cross_entropy_loss(logits, golden.input("labels"));
  loss.backward();
  io::Tensors out{{"logits", logits.detach()}, {"loss", loss.detach()}};
  add_gradients(*model, out);
  return out;
}

const Register<GoldenKind> schedules{"salt/schedule", {schedule}};
const Register<GoldenKind> probes{"salt/probe", {probe}};

}  // namespace
}  // namespace lacuna::eval
