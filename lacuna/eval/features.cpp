
#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/loader.h"
#include "lacuna/eval/protocol.h"
#include "lacuna/train/modality.h"

namespace lacuna::eval {

data::Loader make_loader(const Model& model, std::shared_ptr<data::Dataset> dataset,
                         const EvalConfig& config) {
  const auto& modality = model.config->modality();
  if (!train::reads(model.method->input().modality, dataset->modality()))
    fail(dataset->uri(),
         str("holds ", dataset->modality(), ", and the weights are of a method of ",
             model.method->input().modality),
         str("give other data, e.g. ", modality.default_data()));
  data::LoaderConfig loader;
  loader.batch_size = config.batch_size;
  loader.workers = config.workers;
  loader.shuffle = false;
  loader.drop_last = false;
  if (model.processes) loader.rank = model.processes->rank(), loader.world = model.processes->world();
  loader.max_bad = model.config->data.max_bad;
  return data::Loader(std::move(dataset),
                      modality.transform(*model.config, model.method->input())->evaluating(), loader);
}

namespace {

/// What all processes have read, in the order of the data.
Features gather(train::Processes& processes, const Features& own, const std::vector<int64_t>& samples) {
  const auto order = processes.gather_rows(torch::tensor(samples, torch::kLong)).argsort();
  return {processes.gather_rows(own.features).index_select(0, order),
          processes.gather_rows(own.labels).index_select(0, order)};
}

}  // namespace

Features extract_features(const Model& model, std::shared_ptr<data::Dataset> dataset,
                          const EvalConfig& config) {
  const torch::NoGradGuard no_grad;
  model.method->eval();
  const int64_t total = dataset->size();
  auto loader = make_loader(model, dataset, config);
  const FeatureOptions options{config.pool};
  const auto device = model.method->parameters().front().device();
  std::vector<Tensor> features{torch::empty({0})}, labels{torch::empty({0}, torch::kLong)};
  std::vector<int64_t> samples;
  const int64_t world = model.processes ? model.processes->world() : 1;
  {
    log::Progress progress("features");
    while (auto batch = loader.next_in_epoch()) {
      if (batch->size() == 0) continue;  // every record of it was broken
      features.push_back(model.method->features(batch->to(device), options).cpu());
      labels.push_back(batch->label.cpu());
      samples.insert(samples.end(), batch->sample.begin(), batch->sample.end());
      progress.update(std::min(std::ssize(samples) * world, total), total);
    }
  }
  if (!loader.bad_records().empty())
    log::warn(str(loader.bad_records().size(), " records of ", dataset->uri(), " left out"));
  Features all{torch::cat(features), torch::cat(labels)};
  if (model.processes) all = gather(*model.processes, all, samples);
  if (all.size() == 0) fail(dataset->uri(), "no record that can be read", "run `lacuna inspect` on it");
  return all;
}

Features labelled_features(const Model& model, std::shared_ptr<data::Dataset> dataset,
                           const EvalConfig& config, const std::string& role) {
  auto all = extract_features(model, dataset, config);
  const auto rows = (all.labels >= 0).nonzero().flatten();
  if (rows.numel() == 0)
    fail(str(role, " ", dataset->uri()), "has no labels", "use a set with class folders or labelled records");
  if (rows.numel() == all.size()) return all;
  log::warn(
      str(all.size() - rows.numel(), " records of ", dataset->uri(), " have no label and are left out"));
  return {all.features.index_select(0, rows), all.labels.index_select(0, rows)};
}

double majority_share(const Tensor& labels) {
  return static_cast<double>(torch::bincount(labels).max().item<int64_t>()) /
         static_cast<double>(labels.numel());
}

}  // namespace lacuna::eval
