// Linear regression from frozen features of frames to their sound: how much acoustic detail is in each layer.

#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/features.h"
#include "lacuna/eval/frames.h"

namespace lacuna::eval {
namespace {

constexpr int64_t kMelBins = 80;
constexpr double kRate = 100;     // frames a second of log-mel and MFCC
constexpr int64_t kHeldOut = 10;  // every tenth record, in an order by seed, chooses the layer

Tensor targets_of(const Tensor& wave, const ProbeConfig& config, int64_t sample_rate) {
  data::KaldiConfig kaldi;
  kaldi.sample_rate = sample_rate;
  if (config.target == "mfcc") return data::kaldi_mfcc(wave, kaldi);
  kaldi.num_mel_bins = kMelBins;
  return data::kaldi_fbank(wave, kaldi);
}

/// Moments of every layer.
using PerLayer = std::vector<Moments>;

/// Frames that both the encoder and the analysis window have: frame t lies where window round(t * ratio)
/// does.
void add_record(PerLayer& to, const std::vector<int64_t>& layers, const Frames& frames, int64_t row,
                const Tensor& targets, double ratio) {
  const int64_t T = frames.length[row].item<int64_t>();
  const auto at = (torch::arange(T, torch::kDouble) * ratio).round().to(torch::kLong);
  const auto there = at.lt(targets.size(0)).nonzero().flatten();
  if (there.numel() == 0) return;  // shorter than a window
  const auto y = targets.index_select(0, at.index_select(0, there));
  for (size_t l = 0; l < layers.size(); ++l)
    to[l].add(frames.layers[static_cast<size_t>(layers[l])][row].index_select(0, there), y);
}

struct Parts {
  std::vector<int64_t> layers;
  PerLayer fit, held_out;
};

Parts moments_of(const Request& request, std::shared_ptr<data::Dataset> dataset, bool split) {
  const auto& model = request.model;
  const int64_t sample_rate = model.config->audio.sample_rate;
  const double ratio =
      static_cast<double>(frame_stride(*model.method)) * kRate / static_cast<double>(sample_rate);
  const auto order =
      Stream(static_cast<uint64_t>(request.config.seed), "probe.held_out").permutation(dataset->size());
  Parts out;
  read_frames(model, dataset, request.config, [&](const Batch& batch, const Frames& frames) {
    if (out.layers.empty()) {
      out.layers = chosen_layers(request.config.probe, std::ssize(frames.layers));
      out.fit.resize(out.layers.size()), out.held_out.resize(out.layers.size());
    }
    for (int64_t b = 0; b < batch.size(); ++b) {
      const auto wave = batch.wave[b].slice(0, 0, batch.wave_length[b].item<int64_t>());
      const bool held =
          split && order[static_cast<size_t>(batch.sample[static_cast<size_t>(b)])] % kHeldOut == 0;
      add_record(held ? out.held_out : out.fit, out.layers, frames, b,
                 targets_of(wave, request.config.probe, sample_rate), ratio);
    }
  });
  return out;
}

Result run(const Request& request) {
  const auto train = moments_of(request, request.train, true);
  const auto test = moments_of(request, request.test, false);
  if (train.fit.front().count() == 0 || train.held_out.front().count() == 0 || test.fit.front().count() == 0)
    fail("eval frame-regression", "too few records of a frame or more to learn from, choose by and score",
         "give more, or longer, recordings");
  Result result;
  double best = -std::numeric_limits<double>::infinity();
  for (size_t l = 0; l < train.layers.size(); ++l) {
    const auto& scored = test.fit[l];
    const auto fit =
        train.fit[l].ridge(request.config.probe.ridge * static_cast<double>(train.fit[l].count()));
    const double error = scored.error(fit), r2 = 1 - error / scored.spread();
    const double mse = error / static_cast<double>(scored.count() * scored.targets());
    result.metrics[str("r2_", train.layers[l])] = r2;
    result.metrics[str("mse_", train.layers[l])] = mse;
    const double held = 1 - train.held_out[l].error(fit) / train.held_out[l].spread();
    if (held <= best) continue;
    best = held;
    result.metrics["r2"] = r2, result.metrics["mse"] = mse, result.metrics["layer"] = train.layers[l];
  }
  const auto& probe = request.config.probe;
  result.settings = {
      {"target", probe.target == "logmel" ? "80 log-mel energies (Kaldi's)" : "13 MFCC (Kaldi's)"},
      {"ridge", probe.ridge},
      {"layers", train.layers},
      {"held_out", "a tenth of the training records, by seed, chose the layer of r2 and mse"},
      {"train_frames", train.fit.front().count()},
      {"test_frames", test.fit.front().count()}};
  return result;
}

const Register<Protocol> registered{
    "frame-regression",
    {.summary = "ridge regression from each layer's frozen frames to log-mel energies: acoustic detail "
                "(probe.* keys)",
     .run = run,
     .labels = false}};

}  // namespace
}  // namespace lacuna::eval
