// Golden cases of what stands around speech-targets' model: span masks, MFCC, labels, k-means, learning rate.

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/features.h"
#include "lacuna/mask/span.h"
#include "lacuna/method/golden.h"
#include "lacuna/method/speech_targets.h"
#include "lacuna/target/kmeans.h"
#include "lacuna/train/schedule.h"

namespace lacuna::eval {
namespace {

mask::SpanConfig mask_config(const Json& config) {
  mask::SpanConfig out;
  out.prob = config.at("mask_prob"), out.length = config.at("mask_length");
  out.min_spans = config.value("min_masks", int64_t{2});
  out.require_same = config.value("require_same_masks", true);
  out.selection = config.value("mask_selection", "static");
  out.other = config.value("mask_other", 0.0);
  out.no_overlap = config.value("no_mask_overlap", false);
  out.min_space = config.value("mask_min_space", int64_t{1});
  return out;
}

void masks(const GoldenCase& golden, io::Tensors& out) {
  const auto config = mask_config(golden.config.at("mask"));
  const auto& padding = golden.input("padding_mask");
  const auto length = padding.logical_not().sum(1);
  const int64_t frames = padding.size(1);
  const auto lengths = [&](const char* name) {
    const auto found = golden.inputs.find(name);
    return found != golden.inputs.end() ? found->second : Tensor();
  };
  out["mask"] =
      mask::span_mask(config, length, frames,
                      {golden.input("u"), golden.input("starts"), golden.input("keep"), lengths("lengths")});
  const auto nothing = torch::full({length.size(0), 1}, -1, torch::kLong);
  out["mask_free"] = mask::span_mask(
      config, length, frames,
      {golden.input("free_u"), golden.input("free_starts"), nothing, lengths("free_lengths")});
}

void labels(const GoldenCase& golden, io::Tensors& out) {
  const auto& features = golden.input("features");  // [L, N, D]
  const auto& centers = golden.input("centers");
  std::vector<Tensor> layers;
  for (int64_t l = 0; l < features.size(0); ++l) layers.push_back(target::nearest(features[l], centers[l]));
  out["layer_labels"] = torch::stack(layers);

  const auto& books = golden.input("rvq_codebooks");
  const target::Codebooks quantiser(books.unbind(0));
  out["rvq_codes"] = quantiser.encode(features[0]);
  out["rvq_residual"] = quantiser.residual(features[0]);
  std::vector<Tensor> energy;
  for (int64_t q = 1; q <= books.size(0); ++q)
    energy.push_back(
        target::Codebooks(books.slice(0, 0, q).unbind(0)).residual(features[0]).square().sum(1).mean());
  out["rvq_residual_energy"] = torch::stack(energy);

  auto fitted = features[0].index_select(0, golden.input("kmeans_init_rows"));
  const auto count = static_cast<double>(features.size(1));  // the case holds means over the rows
  std::vector<double> inertia{target::inertia(features[0], fitted) / count};
  const auto rounds = golden.config.at("target").at("kmeans_iters").get<int64_t>();
  for (int64_t i = 0; i < rounds; ++i) {
    fitted = target::lloyd_round(features[0], fitted);
    inertia.push_back(target::inertia(features[0], fitted) / count);
  }
  out["kmeans_centers"] = fitted;
  out["kmeans_labels"] = target::nearest(features[0], fitted);
  out["kmeans_inertia"] = torch::tensor(inertia, torch::kFloat);
}

void alignment(const GoldenCase& golden, io::Tensors& out) {
  const auto& align = golden.config.at("align");
  for (size_t i = 0; i < align.at("feat_len").size(); ++i)
    out[str("align_", i)] =
        align_labels(align.at("feat_len")[i], align.at("label_len")[i], align.at("feat2tar_ratio")[i]);
}

void rates(const GoldenCase& golden, io::Tensors& out) {
  const auto& lr = golden.config.at("lr");
  const train::IterationSchedule schedule{.type = "polynomial",
                                          .steps = lr.at("total_num_update"),
                                          .warmup = lr.at("warmup_updates"),
                                          .min_lr = lr.value("end_learning_rate", 0.0),
                                          .power = lr.value("power", 1.0)};
  std::vector<double> at;
  for (const auto& step : golden.input("lr_steps").unbind(0))
    at.push_back(schedule.at(step.item<double>(), lr.at("lr").get<double>()));
  out["lr"] = torch::tensor(at, torch::kFloat);
}

io::Tensors masks_and_labels(const GoldenCase& golden) {
  io::Tensors out;
  masks(golden, out);
  const auto& features = golden.config.at("features");
  data::KaldiConfig kaldi;
  kaldi.sample_rate = features.at("sample_rate"), kaldi.num_ceps = features.at("num_ceps");
  kaldi.num_mel_bins = features.at("num_mel_bins");
  out["mfcc39"] = data::mfcc_with_deltas(golden.input("wav").flatten().to(torch::kDouble), kaldi,
                                         features.value("delta_win_length", int64_t{5}));
  labels(golden, out);
  alignment(golden, out);
  rates(golden, out);
  return out;
}

const Register<GoldenKind> registered{"speech-targets/masks-and-labels", {masks_and_labels}};

}  // namespace
}  // namespace lacuna::eval
