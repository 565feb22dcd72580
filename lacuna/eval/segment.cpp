// The class of each point from its pillar's feature: a head on a frozen encoder, or encoder and head trained
// together.

#include <optional>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/point_classes.h"
#include "lacuna/eval/clouds.h"
#include "lacuna/eval/segment_config.h"
#include "lacuna/eval/segmentation.h"
#include "lacuna/io/safetensors.h"
#include "lacuna/nn/init.h"
#include "lacuna/train/modality.h"
#include "lacuna/train/optim.h"
#include "lacuna/train/schedule.h"

namespace lacuna::eval {
namespace {

constexpr int64_t kScored = 1 << 17;  // points at once
constexpr double kSmallestDeviation = 1e-4;

/// The labelled points of some clouds that lie inside of the grid.
struct LabelledPoints {
  Tensor feature;       ///< [V, D]: of pillars
  Tensor of;            ///< [P] int64: pillar of each point
  Tensor own;           ///< [P, F + 6]: nn::decorate_points
  Tensor label;         ///< [P] int64
  int64_t outside = 0;  ///< labelled points that no pillar holds
};

/// Of one batch, whose pillars have these features.
LabelledPoints labelled_points(const Batch& batch, const nn::Pillars& clouds, const Tensor& feature) {
  LabelledPoints out{.feature = feature};
  if (!batch.point_label.defined()) {
    out.of = torch::empty({0}, clouds.of.options());
    out.own = torch::empty({0, batch.points.size(2) + 6}, batch.points.options());
    out.label = out.of;
    return out;
  }
  const auto label = batch.point_label.flatten().index_select(0, clouds.source);
  const auto rows = label.ge(0).nonzero().squeeze(1);
  out.of = clouds.of.index_select(0, rows);
  out.own = nn::decorate_points(clouds).index_select(0, rows);
  out.label = label.index_select(0, rows);
  out.outside = batch.point_label.ge(0).sum().item<int64_t>() - rows.numel();
  return out;
}

/// Those of a whole set, on the host, with frozen features.
LabelledPoints read_points(const Request& request, const std::shared_ptr<data::Dataset>& dataset) {
  auto& method = pillar_method(request.model, "segment");
  std::vector<Tensor> feature, of, own, label;
  LabelledPoints out;
  int64_t pillars = 0;
  read_clouds(request.model, dataset, request.config, [&](const Batch& batch) {
    const auto clouds = method.pillars(batch);
    const auto part = labelled_points(batch, clouds, method.encoded(clouds).to(torch::kFloat));
    feature.push_back(part.feature.cpu());
    of.push_back(part.of.cpu() + pillars);
    own.push_back(part.own.cpu());
    label.push_back(part.label.cpu());
    out.outside += part.outside;
    pillars += clouds.size();
  });
  out.feature = torch::cat(feature), out.of = torch::cat(of);
  out.own = torch::cat(own), out.label = torch::cat(label);
  if (out.label.numel() == 0)
    fail(dataset->uri(), "no point inside of voxel.range has a label", "give clouds with labelled points");
  return out;
}

/// Linear, or with one hidden layer, on standardised inputs.
class Head {
 public:
  Head(const LabelledPoints& points, int64_t classes, const SegmentConfig& config, uint64_t seed)
      : own_(config.own) {
    // Statistics of the points, not of the pillars: that is what it learns from.
    const auto share =
        torch::bincount(points.of, {}, points.feature.size(0)).to(torch::kDouble).unsqueeze(1) /
        static_cast<double>(points.of.numel());
    const auto wide = points.feature.to(torch::kDouble);
    auto mean = (wide * share).sum(0);
    auto variance = ((wide - mean).square() * share).sum(0);
    if (own_) {
      const auto numbers = points.own.to(torch::kDouble);
      mean = torch::cat({mean, numbers.mean(0)});
      variance = torch::cat({variance, numbers.var(0, /*unbiased=*/false)});
    }
    tensors_["mean"] = mean.to(torch::kFloat);
    tensors_["scale"] = variance.sqrt().clamp_min(kSmallestDeviation).reciprocal().to(torch::kFloat);
    SeededDraws draws(seed);
    int64_t in = mean.numel();
    const auto add = [&](const std::string& name, int64_t out) {
      auto& weight = tensors_[name + ".weight"] = torch::empty({out, in});
      auto& bias = tensors_[name + ".bias"] = torch::empty({out});
      nn::default_conv_init_(weight, bias, draws, "segment." + name);
      in = out;
    };
    if (config.hidden > 0) add("hidden", config.hidden);
    add("classify", classes);
  }

  void to(at::Device device) {
    for (auto& [name, tensor] : tensors_) tensor = tensor.to(device);
  }
  const io::Tensors& tensors() const { return tensors_; }

  /// Matrices decay, biases do not.
  std::vector<train::ParamGroup> groups(double weight_decay) {
    std::vector<train::ParamGroup> out(2);
    out[0].weight_decay = weight_decay;
    for (auto& [name, tensor] : tensors_) {
      if (name == "mean" || name == "scale") continue;
      tensor.requires_grad_();
      auto& group = out[name.ends_with(".bias") ? 1 : 0];
      group.names.push_back("segment." + name);
      group.params.push_back(tensor);
    }
    return out;
  }

  /// [n, C] of points `rows` [n]; undefined: all.
  Tensor logits(const LabelledPoints& points, const Tensor& rows = {}) const {
    const auto chosen = [&](const Tensor& all) { return rows.defined() ? all.index_select(0, rows) : all; };
    auto x = points.feature.index_select(0, chosen(points.of));
    if (own_) x = torch::cat({x, chosen(points.own)}, 1);
    x = (x - tensors_.at("mean")) * tensors_.at("scale");
    if (tensors_.count("hidden.weight") != 0) x = torch::relu(apply("hidden", x));
    return apply("classify", x);
  }

 private:
  Tensor apply(const std::string& name, const Tensor& x) const {
    return torch::linear(x, tensors_.at(name + ".weight"), tensors_.at(name + ".bias"));
  }

  bool own_;
  io::Tensors tensors_;
};

/// Half a cosine down.
double rate_at(int64_t step, int64_t steps, double lr) {
  return train::cosine_lr(static_cast<double>(step), static_cast<double>(steps), 0, lr, 0);
}

void train_head(const LabelledPoints& points, const Tensor& weight, const SegmentConfig& config,
                uint64_t seed, Head& head) {
  const auto optimizer = train::make_adamw(head.groups(config.weight_decay), 0.9, 0.999);
  const int64_t P = points.label.numel();
  const int64_t steps = config.epochs * ((P + config.batch_points - 1) / config.batch_points);
  log::Progress progress("segment");
  int64_t step = 0;
  for (int64_t epoch = 0; epoch < config.epochs; ++epoch) {
    const auto order = torch::tensor(
        Stream(seed, "segment.order", 0, static_cast<uint32_t>(epoch)).permutation(P), torch::kLong);
    for (const auto& rows : order.split(config.batch_points)) {
      optimizer->zero_grad();
      torch::cross_entropy_loss(head.logits(points, rows), points.label.index_select(0, rows), weight)
          .backward();
      optimizer->step(rate_at(step, steps, config.lr));
      progress.update(++step, steps);
    }
  }
}

/// Trains encoder and head together on augmented clouds.
void tune(const Request& request, const Tensor& weight, const SegmentConfig& config, uint64_t seed,
          Head& head) {
  const auto& model = request.model;
  auto& method = pillar_method(model, "segment");
  const auto device = method.parameters().front().device();
  head.to(device);
  auto groups = head.groups(config.weight_decay);
  for (auto group : train::parameter_groups(method, config.weight_decay)) {
    group.lr_scale *= config.encoder_lr / std::max(config.lr, 1e-12);
    groups.push_back(std::move(group));
  }
  const auto optimizer = train::make_adamw(groups, 0.9, 0.999);
  data::LoaderConfig reading;
  reading.batch_size = std::min(config.batch_clouds, request.train->size());
  reading.workers = request.config.workers;
  reading.seed = seed;
  reading.max_bad = model.config->data.max_bad;
  data::Loader loader(request.train, model.config->modality().transform(*model.config, method.input()),
                      reading);
  const int64_t steps = config.epochs * loader.batches_per_epoch();
  log::Progress progress("segment");
  method.train();
  for (int64_t step = 0; step < steps; ++step) {
    const auto batch = loader.next().to(device);
    const auto clouds = method.pillars(batch);
    const auto points = labelled_points(batch, clouds, method.encoded(clouds).to(torch::kFloat));
    progress.update(step + 1, steps);
    if (points.label.numel() == 0) continue;
    optimizer->zero_grad();
    torch::cross_entropy_loss(head.logits(points), points.label, weight.to(device)).backward();
    if (config.clip_grad > 0) train::clip_gradients(groups, train::gradient_norm(groups), config.clip_grad);
    optimizer->step(rate_at(step, steps, config.lr));
  }
  head.to(at::kCPU);
}

/// Names of the classes of both sides, or their numbers where they have no names.
std::vector<std::string> class_names(const Request& request, const LabelledPoints& train,
                                     const LabelledPoints& test) {
  auto names = data::point_classes(*request.train);
  const auto others = data::point_classes(*request.test);
  if (names != others)
    fail(str("--test ", request.test->uri()),
         str("its points' classes (", join(others), ") are not those of --data (", join(names), ")"),
         "use a test set with the same classes");
  const int64_t classes = std::max(train.label.max().item<int64_t>(), test.label.max().item<int64_t>()) + 1;
  if (!names.empty() && std::ssize(names) < classes)
    fail(request.train->uri(), str("has points of class ", classes - 1, " and names ", names.size()),
         "repair the labels");
  for (int64_t c = 0; names.empty() || std::ssize(names) < classes; ++c) names.push_back(std::to_string(c));
  return names;
}

Tensor confusion_of(const Head& head, const LabelledPoints& points, int64_t classes) {
  const torch::NoGradGuard no_grad;
  auto out = torch::zeros({classes, classes}, torch::kLong);
  for (const auto& rows : torch::arange(points.label.numel()).split(kScored))
    out += confusion_matrix(points.label.index_select(0, rows), head.logits(points, rows).argmax(1), classes);
  return out;
}

/// What was learnt, for whoever wants to use it.
void keep(const Request& request, const Head& head, const std::vector<std::string>& names, bool frozen) {
  io::Tensors tensors;
  for (const auto& [name, tensor] : head.tensors()) tensors["segment." + name] = tensor.detach();
  if (!frozen)
    for (const auto& [name, tensor] : request.model.method->weights()) tensors[name] = tensor.detach();
  io::make_folder(request.folder);
  io::save_safetensors(request.folder / "segment.safetensors", tensors, {{"classes", join(names)}});
}

/// Without those that say how weights are to be read.
std::vector<std::string> own_settings(const Request& request) {
  std::vector<std::string> out;
  for (const auto& setting : request.settings)
    if (!setting.starts_with("encoder.num_heads=")) out.push_back(setting);
  return out;
}

Result segment(const Request& request) {
  int64_t chosen = request.config.seed;
  const auto config = segment_config(own_settings(request), chosen);
  const auto seed = static_cast<uint64_t>(chosen);
  const auto train = read_points(request, request.train);
  auto test = read_points(request, request.test);
  const auto names = class_names(request, train, test);
  const int64_t classes = std::ssize(names);
  const auto counts = torch::bincount(train.label, {}, classes);
  const auto weight = config.weighted ? inverse_frequency(counts) : torch::ones({classes});
  Head head(train, classes, config, seed);
  if (config.frozen) {
    train_head(train, weight, config, seed, head);
  } else {
    tune(request, weight, config, seed, head);
    test = read_points(request, request.test);  // as the encoder sees them now
  }
  Result result;
  result.metrics = segmentation_metrics(confusion_of(head, test, classes), names);
  if (!request.folder.empty()) keep(request, head, names, config.frozen);
  ConfigTable table;
  auto used = config;
  table.add("segment", used);
  result.settings = table.to_json();
  result.settings.update({{"classes", names},
                          {"train_size", request.train->size()},
                          {"test_size", request.test->size()},
                          {"train_points", train.label.numel()},
                          {"test_points", test.label.numel()},
                          {"test_points_outside", test.outside}});
  return result;
}

const Register<Protocol> registered{
    "segment",
    {.summary =
         "the class of each point: a head on pillars' frozen features, or encoder and head together; mIoU "
         "(GeoMAE; segment.* keys)",
     .run = segment,
     .trains = true,
     .labels = false}};

}  // namespace
}  // namespace lacuna::eval
