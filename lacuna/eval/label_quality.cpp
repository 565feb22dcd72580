// How well clusters of each layer's frames agree with classes, without training (HuBERT, section IV-C).

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/audio.h"
#include "lacuna/eval/frames.h"
#include "lacuna/target/kmeans.h"
#include "lacuna/train/targets.h"

namespace lacuna::eval {
namespace {

/// Frames of the chosen layers, one under another, and their classes.
struct FramesOf {
  std::vector<int64_t> layers;
  std::vector<Tensor> features;  ///< by layer, [n, D]
  Tensor classes;                ///< [n] int64
};

/// Class of each of `length` frames; -1 where it is not known.
Tensor classes_of(const data::Dataset& dataset, int64_t record, int64_t label, int64_t length, double ratio) {
  const auto labels = dataset.get(record).frame_labels;
  if (labels.empty()) return torch::full({length}, label, torch::kLong);
  const auto& values = *labels.front().values;
  auto out = torch::full({length}, -1, torch::kLong);
  for (int64_t t = 0; t < length; ++t) {
    const auto at = static_cast<size_t>(static_cast<double>(t) * ratio);
    if (at < values.size()) out[t] = static_cast<int64_t>(values[at]);
  }
  return out;
}

/// At most `limit` frames (0: all), those of the first records.
FramesOf frames_of(const Request& request, std::shared_ptr<data::Dataset> dataset, int64_t limit) {
  const auto& model = request.model;
  const double ratio = static_cast<double>(frame_stride(*model.method)) * request.config.probe.label_rate /
                       static_cast<double>(model.config->audio.sample_rate);
  FramesOf out;
  std::vector<std::vector<Tensor>> parts;
  std::vector<Tensor> classes;
  int64_t count = 0;
  read_frames(model, dataset, request.config, [&](const Batch& batch, const Frames& frames) {
    out.layers = chosen_layers(request.config.probe, std::ssize(frames.layers));
    parts.resize(out.layers.size());
    for (int64_t b = 0; b < batch.size() && (limit == 0 || count < limit); ++b) {
      const int64_t T = frames.length[b].item<int64_t>();
      const auto own = classes_of(*dataset, batch.sample[static_cast<size_t>(b)],
                                  batch.label[b].item<int64_t>(), T, ratio);
      const auto rows = limit > 0 ? torch::arange(T) : own.ge(0).nonzero().flatten();
      for (size_t l = 0; l < out.layers.size(); ++l)
        parts[l].push_back(frames.layers[static_cast<size_t>(out.layers[l])][b].index_select(0, rows));
      classes.push_back(own.index_select(0, rows));
      count += rows.numel();
    }
  });
  for (const auto& layer : parts) out.features.push_back(torch::cat(layer));
  out.classes = torch::cat(classes);
  return out;
}

Result run(const Request& request) {
  const auto& probe = request.config.probe;
  auto scored = request.test;
  if (!probe.frame_labels.empty())
    scored = data::with_frame_labels(scored, {probe.frame_labels}, probe.label_rate);
  else if (!scored->labelled())
    fail(str("--test ", scored->uri()), "has no classes to compare with",
         "use class folders, ?label_field=N, or probe.frame_labels");
  const auto train = frames_of(request, request.train, probe.max_frames);
  const auto test = frames_of(request, scored, 0);
  if (test.classes.numel() == 0)
    fail(str("--test ", scored->uri()), "no frame has a class", "check probe.frame_labels");
  Result result;
  double best = -1;
  for (size_t l = 0; l < train.layers.size(); ++l) {
    target::Codebooks books;
    books.fit(train.features[l], {.clusters = probe.clusters}, static_cast<uint64_t>(request.config.seed), 0);
    const auto found = train::label_quality(books.encode(test.features[l]).select(1, 0), test.classes);
    const std::string layer = str("_", train.layers[l]);
    result.metrics["pnmi" + layer] = found.pnmi;
    result.metrics["class_purity" + layer] = found.class_purity;
    result.metrics["cluster_purity" + layer] = found.cluster_purity;
    if (found.pnmi <= best) continue;
    best = found.pnmi;
    result.metrics.update({{"pnmi", found.pnmi},
                           {"class_purity", found.class_purity},
                           {"cluster_purity", found.cluster_purity},
                           {"layer", train.layers[l]}});
  }
  result.settings = {{"clusters", probe.clusters},
                     {"layers", train.layers},
                     {"classes", probe.frame_labels.empty() ? "of the records" : probe.frame_labels},
                     {"train_frames", train.features.front().size(0)},
                     {"test_frames", test.classes.numel()},
                     {"note",
                      "pnmi, class_purity and cluster_purity without a number are of the layer with the "
                      "highest PNMI on the test set"}};
  return result;
}

const Register<Protocol> registered{
    "label-quality",
    {.summary =
         "k-means of each layer's frames against classes of records or frames: purity and PNMI, nothing "
         "is trained (probe.* keys)",
     .run = run,
     .labels = false}};

}  // namespace
}  // namespace lacuna::eval
