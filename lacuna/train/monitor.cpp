#include "lacuna/train/monitor.h"

#include <torch/torch.h>

#include <algorithm>

#include "lacuna/data/loader.h"
#include "lacuna/train/picture.h"

namespace lacuna::train {

namespace {

constexpr int64_t kFeatureBatch = 64, kSkillPictures = 64, kNeighbours = 20;

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
                 const data::ImageTransform& transform, torch::Device device)
    : config_(config), transform_(transform.for_evaluation()), device_(device) {
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

Monitor::Pictures Monitor::read(const std::shared_ptr<data::Dataset>& dataset,
                                std::vector<int64_t> records) const {
  const data::LoaderConfig loading{.batch_size = kFeatureBatch,
                                   .workers = config_.train.workers,
                                   .shuffle = false,
                                   .drop_last = false,
                                   .max_bad = static_cast<int64_t>(records.size())};
  data::Loader loader(data::subset(dataset, std::move(records)), transform_, loading);
  std::vector<Tensor> images, labels;
  while (auto batch = loader.next_in_epoch()) {
    images.push_back(batch->image);
    labels.push_back(batch->label);
  }
  return {torch::cat(images), torch::cat(labels)};
}

Tensor Monitor::features(Method& method, const Tensor& images) const {
  std::vector<Tensor> out;
  for (const auto& chunk : images.split(kFeatureBatch)) {
    Batch batch;
    batch.image = chunk.to(device_);
    out.push_back(method.features(batch, {.pool = "avg"}).cpu());  // early on a class token says little
  }
  return torch::cat(out);
}

Preview Monitor::preview(Method& method, int64_t count) const {
  Batch batch;
  batch.image = query_.image.slice(0, 0, count).to(device_);
  SeededDraws draws(static_cast<uint64_t>(config_.train.seed));
  return method.preview(batch, draws);
}

Health Monitor::check(Method& method, int64_t step) const {
  const torch::NoGradGuard no_grad;
  const Evaluating evaluating(method);
  Health health;
  health.step = step;
  const auto shown = preview(method, kSkillPictures);
  if (shown.predicted.defined()) {
    health.has_skill = true;
    health.skill = reconstruction_skill(shown);
  }
  const auto bank = features(method, bank_.image);
  health.spread = feature_spread(bank);
  if (labelled()) {
    health.knn = knn_top1(bank, bank_.label, features(method, query_.image), query_.label, kNeighbours, 0.07,
                          classes_);
    health.knn_chance = chance_;
  }
  return health;
}

Tensor Monitor::panel(Method& method) const {
  const torch::NoGradGuard no_grad;
  const Evaluating evaluating(method);
  return preview_panel(preview(method, config_.health.preview_images), transform_.normalization());
}

}  // namespace lacuna::train
