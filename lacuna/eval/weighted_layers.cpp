
#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/core/torch.h"
#include "lacuna/eval/frames.h"
#include "lacuna/eval/linear.h"
#include "lacuna/nn/init.h"

namespace lacuna::eval {

namespace {

/// Weights of layers, projection, classifier.
struct Head {
  Tensor layers, project_weight, project_bias, weight, bias;

  Head(int64_t count, int64_t dim, int64_t width, int64_t classes, Draws& draws) {
    layers = torch::zeros({count});
    int64_t in = dim;
    if (width > 0) {
      project_weight = torch::empty({width, dim}), project_bias = torch::empty({width});
      nn::default_conv_init_(project_weight, project_bias, draws, "probe.project");
      in = width;
    }
    weight = torch::empty({classes, in}), bias = torch::empty({classes});
    nn::default_conv_init_(weight, bias, draws, "probe.classify");
    for (auto* parameter : all()) parameter->requires_grad_();
  }
  std::vector<Tensor*> all() {
    std::vector<Tensor*> out{&layers, &weight, &bias};
    if (project_weight.defined()) out.insert(out.end(), {&project_weight, &project_bias});
    return out;
  }
  /// x [B, L, D] -> [B, C]. The mean over time was taken before: all here but the classes' choice is linear.
  Tensor logits(const Tensor& x) const {
    auto y = torch::einsum("bld,l->bd", {x, layers.softmax(0)});
    if (project_weight.defined()) y = torch::linear(y, project_weight, project_bias);
    return torch::linear(y, weight, bias);
  }
  double accuracy(const Tensor& x, const Tensor& labels) const {
    const torch::NoGradGuard no_grad;
    return logits(x).argmax(1).eq(labels).to(torch::kDouble).mean().item<double>();
  }
};

Head train_head(const Tensor& x, const Tensor& y, int64_t classes, double lr, const EvalConfig& config) {
  const auto seed = static_cast<uint64_t>(config.seed);
  const auto& probe = config.probe;
  SeededDraws draws(seed);
  Head head(x.size(1), x.size(2), probe.width, classes, draws);
  train::ParamGroup group;
  for (auto* parameter : head.all()) {
    group.names.push_back(str("probe.", group.names.size()));
    group.params.push_back(*parameter);
  }
  const auto optimizer = train::make_adamw({group}, 0.9, 0.999);  // no weight decay: Adam
  log::Progress progress(str("probe at rate ", lr));
  for (int64_t epoch = 0; epoch < probe.epochs; ++epoch) {
    const auto order = torch::tensor(
        Stream(seed, "probe.order", 0, static_cast<uint32_t>(epoch)).permutation(x.size(0)), torch::kLong);
    for (const auto& rows : order.split(probe.batch_size)) {
      optimizer->zero_grad();
      torch::cross_entropy_loss(head.logits(x.index_select(0, rows)), y.index_select(0, rows)).backward();
      optimizer->step(lr);
    }
    progress.update(epoch + 1, probe.epochs);
  }
  return head;
}

}  // namespace

Result weighted_layers(const PooledLayers& train, const PooledLayers& test, const EvalConfig& config) {
  const auto& probe = config.probe;
  if (probe.lr.empty()) fail("probe.lr", "is empty", "give one rate or more, e.g. [1e-3]");
  const int64_t classes = std::max(train.labels.max().item<int64_t>(), test.labels.max().item<int64_t>()) + 1;
  const auto split = split_by_class(train.labels, static_cast<uint64_t>(config.seed));
  const auto rows = [&](const Tensor& of, const Tensor& at) { return of.index_select(0, at); };
  Result result;
  double best = -1;
  for (const double lr : probe.lr) {
    const auto head =
        train_head(rows(train.features, split.fit), rows(train.labels, split.fit), classes, lr, config);
    const double held =
        head.accuracy(rows(train.features, split.held_out), rows(train.labels, split.held_out));
    const double top1 = head.accuracy(test.features, test.labels);
    result.metrics[str("top1_lr", lr)] = top1;
    if (held <= best) continue;
    best = held;
    result.metrics["top1"] = top1;
    result.metrics["held_out_top1"] = held;
    result.settings["lr_chosen"] = lr;
    const auto weights = head.layers.detach().softmax(0);
    for (size_t l = 0; l < train.layers.size(); ++l)
      result.metrics[str("weight_", train.layers[l])] = weights[static_cast<int64_t>(l)].item<double>();
  }
  result.metrics["chance"] = majority_share(test.labels);
  result.settings.update({{"layers", train.layers},
                          {"lr", probe.lr},
                          {"epochs", probe.epochs},
                          {"batch_size", probe.batch_size},
                          {"width", probe.width},
                          {"optimizer", "Adam"},
                          {"held_out", str("a tenth of the training records (", split.held_out.size(0),
                                           ", by seed) chose the rate; the test set had no part in it")},
                          {"train_size", split.fit.size(0)},
                          {"test_size", test.labels.size(0)}});
  return result;
}

namespace {

Result run(const Request& request) {
  const auto train = pooled_layers(request.model, request.train, request.config, "--data");
  const auto test = pooled_layers(request.model, request.test, request.config, "--test");
  return weighted_layers(train, test, request.config);
}

const Register<Protocol> registered{
    "weighted-layers",
    {.summary = "SUPERB's classifier of utterances or speakers (?label_field=N): a learnt weighted sum of a "
                "frozen encoder's layers, mean over time, linear (probe.* keys)",
     .run = run}};

}  // namespace
}  // namespace lacuna::eval
