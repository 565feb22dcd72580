#include "lacuna/eval/frames.h"

#include <algorithm>
#include <numeric>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/core/torch.h"
#include "lacuna/method/speech_ctc.h"

namespace lacuna::eval {

void read_frames(const Model& model, std::shared_ptr<data::Dataset> dataset, const EvalConfig& config,
                 const std::function<void(const Batch&, const Frames&)>& use) {
  const torch::NoGradGuard no_grad;
  model.method->eval();
  const auto device = model.method->parameters().front().device();
  const int64_t total = dataset->size();
  auto loader = make_loader(model, dataset, config);
  int64_t done = 0;
  log::Progress progress("frames");
  while (auto batch = loader.next_in_epoch()) {
    if (batch->size() == 0) continue;  // every record of it was broken
    auto frames = model.method->frames(batch->to(device));
    for (auto& layer : frames.layers) layer = layer.cpu();
    use(*batch, frames);
    progress.update(done += batch->size(), total);
  }
  if (!loader.bad_records().empty())
    log::warn(str(loader.bad_records().size(), " records of ", dataset->uri(), " left out"));
  if (done == 0) fail(dataset->uri(), "no record that can be read", "run `lacuna inspect` on it");
}

int64_t frame_stride(const Method& method) {
  if (const auto* speech = dynamic_cast<const SpeechTargets*>(&method))
    return speech->config().encoder.stride();
  if (const auto* ctc = dynamic_cast<const SpeechCtc*>(&method)) return ctc->config().encoder.stride();
  fail("these weights", "are of a method whose frames have no place in time",
       "give weights of speech-targets");
}

std::vector<int64_t> chosen_layers(const ProbeConfig& config, int64_t count) {
  if (config.layers.empty()) {
    std::vector<int64_t> all(static_cast<size_t>(count));
    std::iota(all.begin(), all.end(), 0);
    return all;
  }
  for (const int64_t layer : config.layers)
    if (layer >= count)
      fail(str("probe.layers ", layer), str("the model has layers 0 to ", count - 1), "name layers it has");
  return config.layers;
}

PooledLayers pooled_layers(const Model& model, std::shared_ptr<data::Dataset> dataset,
                           const EvalConfig& config, const std::string& role) {
  std::vector<Tensor> features, labels;
  PooledLayers out;
  read_frames(model, dataset, config, [&](const Batch& batch, const Frames& frames) {
    out.layers = chosen_layers(config.probe, std::ssize(frames.layers));
    const int64_t T = frames.layers.front().size(1);
    const auto inside =
        torch::arange(T).unsqueeze(0).lt(frames.length.unsqueeze(1)).unsqueeze(-1);  // [B, T, 1]
    std::vector<Tensor> means;
    for (const int64_t layer : out.layers)
      means.push_back((frames.layers[static_cast<size_t>(layer)] * inside).sum(1) /
                      frames.length.unsqueeze(1));
    const auto rows = batch.label.ge(0).nonzero().flatten();
    features.push_back(torch::stack(means, 1).index_select(0, rows));
    labels.push_back(batch.label.index_select(0, rows));
  });
  out.features = torch::cat(features), out.labels = torch::cat(labels);
  if (out.labels.numel() == 0)
    fail(str(role, " ", dataset->uri()), "has no labels", "use class folders, or ?label_field=N");
  return out;
}

void Moments::add(const Tensor& x, const Tensor& y) {
  const auto a = x.to(torch::kDouble), b = y.to(torch::kDouble);
  if (!x_.defined()) {
    const int64_t D = x.size(1), M = y.size(1);
    const auto zeros = [](std::vector<int64_t> shape) { return torch::zeros(shape, torch::kDouble); };
    x_ = zeros({D}), y_ = zeros({M}), xx_ = zeros({D, D}), xy_ = zeros({D, M}), yy_ = zeros({M});
  }
  count_ += x.size(0);
  x_ += a.sum(0), y_ += b.sum(0);
  xx_ += torch::mm(a.t(), a), xy_ += torch::mm(a.t(), b);
  yy_ += b.square().sum(0);
}

Moments::Fit Moments::ridge(double penalty) const {
  LACUNA_ASSERT(count_ > 0);
  const auto n = static_cast<double>(count_);
  const auto mean_x = x_ / n, mean_y = y_ / n;
  const auto spread = xx_ - torch::outer(mean_x, x_) + penalty * torch::eye(x_.size(0), torch::kDouble);
  const auto joint = xy_ - torch::outer(mean_x, y_);
  // Features that never vary leave the matrix singular where nothing is penalised.
  const auto weight = penalty > 0 ? torch::linalg_solve(spread, joint)
                                  : torch::mm(torch::linalg_pinv(spread, 1e-12, /*hermitian=*/true), joint);
  return {weight, mean_y - torch::mv(weight.t(), mean_x)};
}

double Moments::error(const Fit& fit) const {
  const auto n = static_cast<double>(count_);
  const auto& [W, b] = fit;
  // |Y - X W - b|^2, column by column, opened up into the sums.
  const auto squares = yy_ + (W * torch::mm(xx_, W)).sum(0) + n * b.square() - 2 * (W * xy_).sum(0) -
                       2 * b * y_ + 2 * b * torch::mv(W.t(), x_);
  return squares.sum().item<double>();
}

double Moments::spread() const {
  return (yy_ - y_.square() / static_cast<double>(count_)).sum().item<double>();
}

}  // namespace lacuna::eval
