// eval attentive: a frozen encoder's tokens, read by a learned query (V-JEPA; Assran et al., 2025; SALT,
// appendix).

#include <algorithm>
#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/subset.h"
#include "lacuna/eval/protocol.h"
#include "lacuna/nn/attentive.h"
#include "lacuna/train/health.h"
#include "lacuna/train/modality.h"
#include "lacuna/train/optim.h"
#include "lacuna/train/schedule.h"

namespace lacuna::eval {

void AttentiveConfig::fields(Fields& f) {
  f("layout", layout, "vjepa2: blocks on the tokens, then the query attends; vjepa: the query attends first")
      .choices({"vjepa2", "vjepa"});
  f("depth", depth, "blocks, the cross-attention included").range(1, 64);
  f("num_heads", num_heads, "attention heads").range(1);
  f("mlp_ratio", mlp_ratio, "hidden width of the MLPs over the tokens'").range(0);
  f("epochs", epochs, "passes over --data").range(1);
  f("batch_size", batch_size, "records in a batch").range(1);
  f("lr", lr, "learning rates; a probe for each pair of rate and decay, all trained together").range(0);
  f("weight_decay", weight_decay, "weight decays").range(0);
  f("warmup_epochs", warmup_epochs, "epochs of linear warm-up").range(0);
  f("min_lr", min_lr, "rate at the end of the cosine, over the peak").range(0, 1);
  f("augment", augment, "fresh crops and clips in every epoch; false: tokens are computed once and kept");
}

namespace {

constexpr double kHeldOutShare = 0.1;
constexpr double kKeptBytes = 4e9;  // of tokens, without augmentation

/// A probe with its optimiser.
struct Head {
  double lr = 0, weight_decay = 0;
  std::shared_ptr<nn::AttentiveClassifier> probe;
  std::unique_ptr<train::Optimizer> optimizer;
};

/// Decay for all but 1-D tensors and biases, as in the papers.
std::vector<train::ParamGroup> groups_of(const torch::nn::Module& probe, double weight_decay) {
  train::ParamGroup decayed{.weight_decay = weight_decay, .decays = true}, others;
  for (const auto& item : probe.named_parameters()) {
    if (!item.value().requires_grad()) continue;
    auto& group = item.value().dim() > 1 ? decayed : others;
    group.names.push_back(item.key());
    group.params.push_back(item.value());
  }
  return {std::move(decayed), std::move(others)};
}

std::vector<Head> make_heads(const AttentiveConfig& config, int64_t dim, int64_t classes,
                             torch::Device device, uint64_t seed) {
  const nn::AttentiveConfig sizes{.layout = config.layout,
                                  .embed_dim = dim,
                                  .num_heads = config.num_heads,
                                  .depth = config.depth,
                                  .num_classes = classes,
                                  .mlp_ratio = config.mlp_ratio};
  nn::check_attentive(sizes);
  std::vector<Head> heads;
  for (const double lr : config.lr)
    for (const double decay : config.weight_decay) {
      SeededDraws draws(seed);  // every head starts alike
      Head head{lr, decay, std::make_shared<nn::AttentiveClassifier>(sizes), nullptr};
      head.probe->initialize(draws);
      head.probe->to(device);
      head.optimizer = train::make_adamw(groups_of(*head.probe, decay), 0.9, 0.999);
      heads.push_back(std::move(head));
    }
  return heads;
}

/// Tokens and labels, batch by batch.
struct Reading {
  Tensor tokens, label;
};
using Use = std::function<void(const Reading&)>;

Reading read_batch(const Model& model, const Batch& batch) {
  const torch::NoGradGuard no_grad;
  const auto known = batch.label.ge(0).nonzero().flatten();
  auto device = model.method->parameters().front().device();
  auto tokens = model.method->tokens(batch.to(device));
  if (known.numel() < batch.size()) tokens = tokens.index_select(0, known.to(device));
  return {tokens, batch.label.index_select(0, known).to(device)};
}

std::unique_ptr<data::Loader> loader_of(const Request& request, const std::shared_ptr<data::Dataset>& dataset,
                                        std::shared_ptr<const data::Transform> transform, bool training) {
  const auto batch = std::min(request.config.attentive.batch_size, dataset->size());
  return std::make_unique<data::Loader>(dataset, std::move(transform),
                                        data::LoaderConfig{.batch_size = batch,
                                                           .workers = request.config.workers,
                                                           .shuffle = training,
                                                           .drop_last = training,
                                                           .seed = static_cast<uint64_t>(request.config.seed),
                                                           .max_bad = request.model.config->data.max_bad});
}

/// Gives the training data out, epoch by epoch.
class Source {
 public:
  Source(const Request& request, std::shared_ptr<data::Dataset> dataset) : request_(request) {
    const auto& model = request.model;
    auto transform = model.config->modality().transform(*model.config, model.method->input());
    const bool fresh = request.config.attentive.augment;
    loader_ = loader_of(request, dataset, fresh ? transform : transform->evaluating(), fresh);
    steps_ = loader_->batches_per_epoch();
    if (!fresh) keep(dataset->size());
  }
  int64_t steps() const { return steps_; }
  void epoch(int64_t number, const Use& use) {
    if (kept_.tokens.defined()) return epoch_of_kept(number, use);
    for (int64_t i = 0; i < steps_; ++i)
      if (const auto batch = read_batch(request_.model, loader_->next()); batch.label.numel() > 0) use(batch);
  }

 private:
  void keep(int64_t records) {
    std::vector<Tensor> tokens, labels;
    double bytes = 0;
    while (auto batch = loader_->next_in_epoch()) {
      if (batch->size() == 0) continue;
      const auto read = read_batch(request_.model, *batch);
      bytes += static_cast<double>(read.tokens.nbytes());
      if (bytes > kKeptBytes)
        fail("eval.attentive.augment false", str("the tokens of ", records, " records need more than 4 GB"),
             "use eval.attentive.augment=true, or eval.max_train");
      tokens.push_back(read.tokens), labels.push_back(read.label);
    }
    kept_ = {torch::cat(tokens), torch::cat(labels)};
  }
  void epoch_of_kept(int64_t number, const Use& use) const {
    const int64_t size = kept_.label.size(0), batch = std::min(request_.config.attentive.batch_size, size);
    const auto order = torch::tensor(Stream(static_cast<uint64_t>(request_.config.seed),
                                            "eval.attentive.order", 0, static_cast<uint32_t>(number))
                                         .permutation(size))
                           .to(kept_.label.device());
    for (int64_t i = 0; i + batch <= size; i += batch) {
      const auto rows = order.slice(0, i, i + batch);
      use({kept_.tokens.index_select(0, rows), kept_.label.index_select(0, rows)});
    }
  }

  const Request& request_;
  std::unique_ptr<data::Loader> loader_;
  int64_t steps_ = 0;
  Reading kept_;
};

void train_heads(std::vector<Head>& heads, Source& source, const AttentiveConfig& config) {
  log::Progress progress("attentive probe");
  const auto epochs = static_cast<double>(config.epochs), steps = static_cast<double>(source.steps());
  for (int64_t epoch = 0; epoch < config.epochs; ++epoch) {
    int64_t step = 0;
    source.epoch(epoch, [&](const Reading& batch) {
      const double at = static_cast<double>(epoch) + static_cast<double>(step++) / steps;
      const double share = train::cosine_lr(at, epochs, config.warmup_epochs, 1, config.min_lr);
      for (auto& head : heads) {
        head.optimizer->zero_grad();
        torch::cross_entropy_loss(head.probe->forward(batch.tokens), batch.label).backward();
        head.optimizer->step(head.lr * share);
      }
    });
    progress.update(epoch + 1, config.epochs);
  }
}

/// Class shares of every labelled record, averaged over the views, for each head; and the labels.
struct Scores {
  std::vector<Tensor> by_head;  ///< [N, C]
  Tensor label;
};

Scores score(const Request& request, const std::shared_ptr<data::Dataset>& dataset,
             const std::vector<Head>& heads) {
  const torch::NoGradGuard no_grad;
  const auto& model = request.model;
  const auto views = model.config->modality().transform(*model.config, model.method->input())->views();
  Scores out{std::vector<Tensor>(heads.size()), {}};
  for (const auto& view : views) {
    const auto loader = loader_of(request, dataset, view, false);
    std::vector<std::vector<Tensor>> shares(heads.size());
    std::vector<Tensor> labels;
    while (auto batch = loader->next_in_epoch()) {
      if (batch->size() == 0) continue;
      const auto read = read_batch(model, *batch);
      for (size_t h = 0; h < heads.size(); ++h)
        shares[h].push_back(heads[h].probe->forward(read.tokens).softmax(1).cpu());
      labels.push_back(read.label.cpu());
    }
    if (labels.empty()) fail(dataset->uri(), "no record that can be read", "run `lacuna inspect` on it");
    out.label = torch::cat(labels);
    for (size_t h = 0; h < heads.size(); ++h) {
      const auto all = torch::cat(shares[h]) / static_cast<double>(views.size());
      out.by_head[h] = out.by_head[h].defined() ? out.by_head[h] + all : all;
    }
  }
  return out;
}

std::vector<double> accuracies(const Scores& scores, int64_t k) {
  std::vector<double> out;
  for (const auto& shares : scores.by_head) out.push_back(train::top_k_accuracy(shares, scores.label, k));
  return out;
}

Result run(const Request& request) {
  const auto& config = request.config.attentive;
  if (config.lr.empty() || config.weight_decay.empty())
    fail("eval.attentive.lr and weight_decay", "one of them is empty", "give one value or more of each");
  const auto& model = request.model;
  model.method->eval();
  const auto seed = static_cast<uint64_t>(request.config.seed);
  const bool choose = config.lr.size() * config.weight_decay.size() > 1;
  auto [fit, held_out] = choose ? data::hold_out(request.train, kHeldOutShare, seed)
                                : std::pair<std::shared_ptr<data::Dataset>, std::shared_ptr<data::Dataset>>(
                                      request.train, nullptr);
  auto first =
      loader_of(request, fit,
                model.config->modality().transform(*model.config, model.method->input())->evaluating(), false)
          ->next();
  const auto device = model.method->parameters().front().device();
  const int64_t dim = [&] {
    const torch::NoGradGuard no_grad;
    return model.method->tokens(first.first(1).to(device)).size(2);
  }();
  const auto classes = static_cast<int64_t>(request.train->classes().size());
  auto heads = make_heads(config, dim, classes, device, seed);
  Source source(request, fit);
  train_heads(heads, source, config);

  size_t best = 0;
  std::vector<double> chosen_by;
  if (choose) {
    chosen_by = accuracies(score(request, held_out, heads), 1);
    best = static_cast<size_t>(std::max_element(chosen_by.begin(), chosen_by.end()) - chosen_by.begin());
  }
  const auto scores = score(request, request.test, heads);
  const auto top1 = accuracies(scores, 1);
  Result result;
  result.metrics = {{"top1", top1[best]},
                    {"best_head_top1", *std::max_element(top1.begin(), top1.end())},
                    {"chance", majority_share(scores.label)}};
  if (classes > 5) result.metrics["top5"] = accuracies(scores, 5)[best];
  if (choose) result.metrics["held_out_top1"] = chosen_by[best];
  Json grid = Json::array();
  for (size_t h = 0; h < heads.size(); ++h) {
    grid.push_back({{"lr", heads[h].lr}, {"weight_decay", heads[h].weight_decay}, {"top1", top1[h]}});
    if (choose) grid.back()["held_out_top1"] = chosen_by[h];
  }
  const auto views = model.config->modality().transform(*model.config, model.method->input())->views().size();
  result.settings = {
      {"layout", config.layout},
      {"depth", config.depth},
      {"num_heads", config.num_heads},
      {"epochs", config.epochs},
      {"batch_size", config.batch_size},
      {"optimizer", "AdamW, betas 0.9 and 0.999, cosine"},
      {"lr_chosen", heads[best].lr},
      {"weight_decay_chosen", heads[best].weight_decay},
      {"heads", std::move(grid)},
      {"chosen_by", choose ? str("a tenth of --data held out by seed ", seed) : "there is one head"},
      {"best_head_top1", "of the head that is best on the test set, which is what the papers report"},
      {"views", views},
      {"augment", config.augment},
      {"train_size", fit->size()},
      {"test_size", scores.label.size(0)}};
  return result;
}

const Register<Protocol> registered{
    "attentive",
    {.summary = "a learned query and attention blocks on frozen tokens (V-JEPA's probe: a grid of "
                "heads, several clips and crops)",
     .run = run}};

}  // namespace
}  // namespace lacuna::eval
