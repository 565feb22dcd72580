#include "lacuna/eval/linear.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/init.h"
#include "lacuna/train/schedule.h"

namespace lacuna::eval {

LinearProbe::LinearProbe(const ProbeOptions& options, int64_t heads, Draws& draws)
    : options_(options),
      running_mean_(torch::zeros({options.dim})),
      running_var_(torch::ones({options.dim})) {
  const auto first = torch::empty({options.classes, options.dim});
  nn::trunc_normal_(first, 0.01, draws, "head.1.weight");
  for (int64_t i = 0; i < heads; ++i) {
    Head head;
    head.weight = first.clone().requires_grad_();
    head.bias = torch::zeros({options.classes}).requires_grad_();
    if (options.bn_affine) {
      head.bn_weight = torch::ones({options.dim}).requires_grad_();
      head.bn_bias = torch::zeros({options.dim}).requires_grad_();
    }
    heads_.push_back(head);
  }
}

io::Tensors LinearProbe::parameters(int64_t head) const {
  const auto& own = heads_.at(static_cast<size_t>(head));
  io::Tensors out{{"head.1.weight", own.weight}, {"head.1.bias", own.bias}};
  if (options_.bn_affine) {
    out["head.0.weight"] = own.bn_weight;
    out["head.0.bias"] = own.bn_bias;
  }
  return out;
}

io::Tensors LinearProbe::statistics() const {
  return {{"head.0.running_mean", running_mean_}, {"head.0.running_var", running_var_}};
}

std::vector<Tensor> LinearProbe::logits(const Tensor& x, bool training) const {
  const auto normalized = torch::batch_norm(x, {}, {}, running_mean_, running_var_, training,
                                            options_.bn_momentum, options_.bn_eps, /*cudnn_enabled=*/false);
  std::vector<Tensor> out;
  for (const auto& head : heads_) {
    const auto input = options_.bn_affine ? normalized * head.bn_weight + head.bn_bias : normalized;
    out.push_back(torch::linear(input, head.weight, head.bias));
  }
  return out;
}

std::vector<train::ParamGroup> LinearProbe::groups(const std::vector<double>& lr_scales,
                                                   double weight_decay) const {
  LACUNA_ASSERT(lr_scales.size() == heads_.size());
  std::vector<train::ParamGroup> groups;
  for (size_t i = 0; i < heads_.size(); ++i) {
    train::ParamGroup group;
    for (const auto& [name, tensor] : parameters(static_cast<int64_t>(i))) {
      group.names.push_back(str(i, ".", name));
      group.params.push_back(tensor);
    }
    group.weight_decay = weight_decay;
    group.lr_scale = lr_scales[i];
    groups.push_back(std::move(group));
  }
  return groups;
}

std::unique_ptr<train::Optimizer> LinearProbe::make_optimizer(const std::vector<double>& lr_scales,
                                                              double weight_decay, double momentum,
                                                              double trust) const {
  return train::make_lars(groups(lr_scales, weight_decay), momentum, trust);
}

std::unique_ptr<train::Optimizer> LinearProbe::make_sgd(const std::vector<double>& lr_scales,
                                                        double weight_decay) const {
  return train::make_sgd(groups(lr_scales, weight_decay));
}

void LinearProbe::train_step(train::Optimizer& optimizer, const Tensor& x, const Tensor& y, double lr) const {
  Tensor loss;
  for (const auto& head : logits(x, /*training=*/true)) {
    const auto part = torch::cross_entropy_loss(head, y);
    loss = loss.defined() ? loss + part : part;
  }
  optimizer.zero_grad();
  loss.backward();
  optimizer.step(lr);
}

namespace {

constexpr double kHeldOutShare = 0.1;

}  // namespace

Split split_by_class(const Tensor& labels, uint64_t seed) {
  const auto label = labels.accessor<int64_t, 1>();
  std::map<int64_t, std::vector<int64_t>> rows;
  for (int64_t i = 0; i < labels.size(0); ++i) rows[label[i]].push_back(i);
  std::vector<int64_t> fit, held_out;
  for (const auto& [name, members] : rows) {
    const auto count = static_cast<int64_t>(members.size());
    const int64_t out =
        std::min(count - 1, std::max<int64_t>(1, std::llround(kHeldOutShare * static_cast<double>(count))));
    const auto order = Stream(seed, "eval.held_out", static_cast<uint64_t>(name)).permutation(count);
    for (int64_t i = 0; i < count; ++i)
      (i < out ? held_out : fit).push_back(members[static_cast<size_t>(order[static_cast<size_t>(i)])]);
  }
  std::sort(fit.begin(), fit.end());
  std::sort(held_out.begin(), held_out.end());
  if (held_out.empty())
    fail("eval", "no class has two labelled records, so no rate can be chosen", "give more labelled data");
  return {torch::tensor(fit), torch::tensor(held_out)};
}

namespace {

/// Share of the rows whose label is among the `k` highest logits, for each head.
std::vector<double> accuracies(const LinearProbe& probe, const Features& data, int64_t k) {
  constexpr int64_t kRows = 8192;
  const torch::NoGradGuard no_grad;
  std::vector<double> right;
  for (int64_t begin = 0; begin < data.size(); begin += kRows) {
    const int64_t end = std::min(begin + kRows, data.size());
    const auto label = data.labels.slice(0, begin, end).unsqueeze(1);
    const auto logits = probe.logits(data.features.slice(0, begin, end), /*training=*/false);
    right.resize(logits.size(), 0);
    for (size_t i = 0; i < logits.size(); ++i)
      right[i] += std::get<1>(logits[i].topk(k)).eq(label).sum().item<double>();
  }
  for (auto& count : right) count /= static_cast<double>(data.size());
  return right;
}

/// Mean cross-entropy of each head; infinite where it diverged.
std::vector<double> losses(const LinearProbe& probe, const Features& data) {
  const torch::NoGradGuard no_grad;
  std::vector<double> out;
  for (const auto& logits : probe.logits(data.features, /*training=*/false)) {
    const double loss = torch::cross_entropy_loss(logits, data.labels).item<double>();
    out.push_back(std::isfinite(loss) ? loss : std::numeric_limits<double>::infinity());
  }
  return out;
}

/// The head that is right most often; among equals the one with the lowest loss.
size_t best_head(const std::vector<double>& accuracy, const std::vector<double>& loss) {
  size_t best = 0;
  for (size_t i = 1; i < accuracy.size(); ++i)
    if (std::pair(accuracy[i], -loss[i]) > std::pair(accuracy[best], -loss[best])) best = i;
  return best;
}

Features rows_of(const Features& data, const Tensor& rows) {
  return {data.features.index_select(0, rows), data.labels.index_select(0, rows)};
}

/// All heads for all epochs; returns the batch size used.
int64_t train_probe(const LinearProbe& probe, const Features& fit, const EvalConfig& config) {
  const int64_t batch = std::min(config.linear_batch_size, fit.size());
  const int64_t steps = fit.size() / batch;  // a last, smaller batch is dropped, as in the official code
  std::vector<double> rates;
  for (const double base : config.base_lr) rates.push_back(base * static_cast<double>(batch) / 256);
  const auto optimizer = config.optimizer == "sgd" ? probe.make_sgd(rates, config.weight_decay)
                                                   : probe.make_optimizer(rates, config.weight_decay);
  const auto epochs = static_cast<double>(config.epochs);
  log::Progress progress("linear probe");
  for (int64_t epoch = 0; epoch < config.epochs; ++epoch) {
    const auto order = torch::tensor(
        Stream(config.seed, "eval.linear.order", 0, static_cast<uint32_t>(epoch)).permutation(fit.size()));
    for (int64_t step = 0; step < steps; ++step) {
      const auto rows = order.slice(0, step * batch, (step + 1) * batch);
      const double at = static_cast<double>(epoch) + static_cast<double>(step) / static_cast<double>(steps);
      probe.train_step(*optimizer, fit.features.index_select(0, rows), fit.labels.index_select(0, rows),
                       train::cosine_lr(at, epochs, config.warmup_epochs, 1, 0));
    }
    progress.update(epoch + 1, config.epochs);
  }
  return batch;
}

}  // namespace

Result linear_probe(const Features& train, const Features& test, const EvalConfig& config) {
  if (config.base_lr.empty()) fail("eval.base_lr", "is empty", "give one rate or more, e.g. [0.1, 1]");
  const int64_t classes = std::max(train.labels.max().item<int64_t>(), test.labels.max().item<int64_t>()) + 1;
  const auto split = split_by_class(train.labels, static_cast<uint64_t>(config.seed));
  const auto fit = rows_of(train, split.fit), held_out = rows_of(train, split.held_out);
  if (fit.size() < 2) fail("eval linear", "fewer than two pictures to train on", "give more labelled data");

  SeededDraws draws(static_cast<uint64_t>(config.seed));
  const LinearProbe probe({.dim = train.features.size(1), .classes = classes},
                          static_cast<int64_t>(config.base_lr.size()), draws);
  const int64_t batch = train_probe(probe, fit, config);

  const auto chosen_by = accuracies(probe, held_out, 1), top1 = accuracies(probe, test, 1);
  const size_t best = best_head(chosen_by, losses(probe, held_out));
  if (chosen_by.size() > 1 && best + 1 == chosen_by.size())
    log::info(str("linear probe: the highest rate, ", config.base_lr[best],
                  ", was best; a higher one may be better (eval.base_lr)"));
  Result result;
  result.metrics = {
      {"top1", top1[best]}, {"held_out_top1", chosen_by[best]}, {"chance", majority_share(test.labels)}};
  if (classes > 5) result.metrics["top5"] = accuracies(probe, test, 5)[best];
  Json held_out_scores = Json::object();
  for (size_t i = 0; i < top1.size(); ++i) {
    const std::string rate = str(config.base_lr[i]);
    result.metrics["top1_lr" + rate] = top1[i];
    held_out_scores[rate] = chosen_by[i];
  }
  result.settings = {{"base_lr", config.base_lr},
                     {"base_lr_chosen", config.base_lr[best]},
                     {"held_out_top1_by_base_lr", held_out_scores},
                     {"held_out", str("a tenth of the training features (", held_out.size(), ", by seed ",
                                      config.seed, ") chose the rate; the test set had no part in it")},
                     {"augmentation", "none: features are computed once from centre crops and cached"},
                     {"optimizer", config.optimizer == "sgd" ? "SGD, momentum 0.9"
                                                             : "LARS, momentum 0.9, trust coefficient 0.001"},
                     {"epochs", config.epochs},
                     {"warmup_epochs", config.warmup_epochs},
                     {"batch_size", batch},
                     {"weight_decay", config.weight_decay},
                     {"train_size", fit.size()},
                     {"test_size", test.size()}};
  return result;
}

namespace {

Result run(const Request& request) {
  const auto features = labelled_features(request.model, request.train, request.config, "--data");
  const auto test = labelled_features(request.model, request.test, request.config, "--test");
  return linear_probe(features, test, request.config);
}

const Register<Protocol> registered{"linear",
                                    {.summary = "batch norm and a linear classifier on frozen features "
                                                "(MAE's recipe: LARS, cosine, a sweep of rates)",
                                     .run = run,
                                     .several_processes = true}};

}  // namespace
}  // namespace lacuna::eval
