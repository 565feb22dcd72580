#include "lacuna/train/monitor.h"

#include <algorithm>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/loader.h"
#include "lacuna/train/modality.h"

namespace lacuna::train {

namespace {

constexpr int64_t kFeatureBatch = 64, kNeighbours = 20;

// Sets evaluation mode, and training mode again when it goes.
class Evaluating {
 public:
  explicit Evaluating(Method& method) : method_(method), was_training_(method.is_training()) {
    method_.eval();
  }
  ~Evaluating() { method_.train(was_training_); }
  Evaluating(const Evaluating&) = delete;
  Evaluating& operator=(const Evaluating&) = delete;

 private:
  Method& method_;
  bool was_training_;
};

// `count` records from the `skip`-th on of a shuffle that depends on nothing but the set's size.
std::vector<int64_t> spread_records(int64_t size, int64_t skip, int64_t count) {
  const auto order = Stream(0, "monitor").permutation(size);
  const int64_t begin = std::min(skip, size), end = std::min(skip + count, size);
  return {order.begin() + begin, order.begin() + end};
}

}  // namespace

Monitor::Monitor(const RunConfig& config, const std::shared_ptr<data::Dataset>& training,
                 const data::Transform& transform, torch::Device device)
    : config_(config), transform_(transform.evaluating()), device_(device) {
  const auto probe =
      config.health.probe.empty() ? training : data::open_dataset(config.health.probe, "train");
  const int64_t bank = std::min(config.health.samples, std::max<int64_t>(1, probe->size() * 2 / 3));
  const int64_t queries = std::max<int64_t>(1, bank / 2);
  bank_ = read(probe, spread_records(probe->size(), 0, bank));
  const auto test = data::open_test_split(probe->uri());
  query_ = test ? read(test, spread_records(test->size(), 0, queries))
                : read(probe, spread_records(probe->size(), probe->size() > bank ? bank : 0, queries));
  if (!probe->labelled()) return;
  classes_ = static_cast<int64_t>(probe->classes().size());
  const auto counts = query_.label.clamp_min(0).bincount({}, classes_);
  chance_ = counts.max().item<double>() / static_cast<double>(query_.label.size(0));
}

Monitor::Records Monitor::read(const std::shared_ptr<data::Dataset>& dataset,
                               std::vector<int64_t> records) const {
  const data::LoaderConfig loading{.batch_size = kFeatureBatch,
                                   .workers = config_.train.workers,
                                   .shuffle = false,
                                   .drop_last = false,
                                   .max_bad = static_cast<int64_t>(records.size())};
  data::Loader loader(data::subset(config_.modality().dress(config_, dataset), std::move(records)),
                      transform_, loading);
  Records out;
  std::vector<Tensor> labels;
  while (auto batch = loader.next_in_epoch()) {
    if (batch->size() == 0) continue;  // every record of it was broken
    out.batches.push_back(batch->to(device_));
    labels.push_back(batch->label);
  }
  if (out.batches.empty())
    fail(dataset->uri(), "none of the records to watch the run on can be read", "run `lacuna inspect` on it");
  out.label = torch::cat(labels);
  return out;
}

Tensor Monitor::features(Method& method, const Records& records) const {
  std::vector<Tensor> out;
  for (const auto& batch : records.batches)
    out.push_back(method.features(batch, {.pool = "avg"}).cpu());  // early on a class token says little
  return torch::cat(out);
}

Preview Monitor::preview(Method& method, int64_t count) const {
  // Labels of frames are made of the training data: a test split without them shows no truth.
  const auto& test = query_.batches.front();
  const auto& known = bank_.batches.front();
  const auto& batch = known.frame_label.defined() && !test.frame_label.defined() ? known : test;
  SeededDraws draws(static_cast<uint64_t>(config_.train.seed));
  return method.preview(batch.first(std::min(count, batch.size())), draws);
}

Health Monitor::check(Method& method, int64_t step) const {
  const torch::NoGradGuard no_grad;
  const Evaluating evaluating(method);
  Health health;
  health.step = step;
  if (const auto skill = config_.modality().skill(preview(method, kFeatureBatch))) {
    health.has_skill = true;
    health.skill = *skill;
  }
  const auto bank = features(method, bank_);
  health.spread = feature_spread(bank);
  if (labelled()) {
    health.knn =
        knn_top1(bank, bank_.label, features(method, query_), query_.label, kNeighbours, 0.07, classes_);
    health.knn_chance = chance_;
    health.knn_queries = query_.label.ge(0).sum().item<int64_t>();
  }
  return health;
}

Tensor Monitor::panel(Method& method) const {
  const torch::NoGradGuard no_grad;
  const Evaluating evaluating(method);
  return config_.modality().panel(preview(method, config_.health.preview_images), config_);
}

Modality::Animation Monitor::animation(Method& method) const {
  const torch::NoGradGuard no_grad;
  const Evaluating evaluating(method);
  return config_.modality().animation(preview(method, config_.health.preview_images), config_);
}

}  // namespace lacuna::train
