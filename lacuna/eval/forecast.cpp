// HumanMAC's evaluation (section 4.1) and its sampling for `lacuna generate`: futures of windows of motions.

#include <algorithm>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/motion.h"
#include "lacuna/data/subset.h"
#include "lacuna/eval/generate.h"
#include "lacuna/eval/motion_metrics.h"
#include "lacuna/io/animation.h"
#include "lacuna/io/image.h"
#include "lacuna/method/humanmac.h"
#include "lacuna/train/motion_picture.h"

namespace lacuna::eval {
namespace {

constexpr int64_t kRows = 512;     // motions denoised at once
constexpr double kPlainRate = 25;  // of an animation whose rate is not known

const HumanMAC& model_of(const Model& model) {
  const auto* method = dynamic_cast<const HumanMAC*>(model.method.get());
  if (method == nullptr)
    fail(model.origin, str("holds weights of ", model.config->method, ", which predicts no motions"),
         "use a run of humanmac");
  return *method;
}

/// [N, T, D] windows of a set: every t_his-th frame begins one.
struct Windows {
  Tensor trajectory;
  std::vector<std::string> keys;
};

Windows read_windows(const Model& model, const std::shared_ptr<data::Dataset>& dataset,
                     const EvalConfig& config) {
  const auto& method = model_of(model);
  const auto& settings = method.model().config();
  if (dataset->modality() != "motion")
    fail(dataset->uri(), str("holds ", dataset->modality(), ", not motions"), "give e.g. synthetic:walkers");
  auto windows = data::motion_windows(dataset, model.config->motion, settings.frames(), settings.mask.t_his);
  windows = data::balanced_subset(windows, config.max_test, static_cast<uint64_t>(config.seed));
  auto loader = make_loader(model, windows, config);
  Windows out;
  std::vector<Tensor> parts;
  while (const auto batch = loader.next_in_epoch()) {
    if (batch->size() == 0) continue;
    parts.push_back(without_root(batch->motion));
    out.keys.insert(out.keys.end(), batch->key.begin(), batch->key.end());
  }
  if (parts.empty()) fail(dataset->uri(), "no window that can be read", "run `lacuna inspect` on it");
  out.trajectory = torch::cat(parts);
  return out;
}

/// [K, N, T, D]. Each window's futures are drawn by its number, whatever else is sampled with it.
Tensor futures_of(const MotionDiffuser& model, const MotionCompletion& all, const GenerateConfig& config,
                  uint64_t seed) {
  const int64_t N = all.history.size(0), K = config.samples;
  const double told = config.told < 0 ? model.config().mask.mod_test : config.told;
  const auto rows = [&](const Tensor& tensor, int64_t begin, int64_t end) {
    return tensor.defined() && tensor.size(0) > 1 ? tensor.slice(0, begin, end) : tensor;
  };
  std::vector<Tensor> out;
  log::Progress progress("sample");
  for (int64_t k = 0; k < K; ++k) {
    // As officially, one draw decides for a whole sampling.
    Stream chance(seed, "told", static_cast<uint64_t>(k));
    const bool tell = chance.uniform() <= told;
    std::vector<Tensor> parts;
    for (int64_t begin = 0; begin < N; begin += kRows) {
      const int64_t end = std::min(N, begin + kRows);
      std::vector<int64_t> numbers;
      for (int64_t n = begin; n < end; ++n) numbers.push_back(n * K + k);
      SeededDraws draws(seed, 0, numbers);
      const MotionCompletion part{rows(all.history, begin, end), rows(all.known, begin, end),
                                  config.complete ? rows(all.mask, begin, end) : Tensor(),
                                  rows(all.end, begin, end), rows(all.end_mask, begin, end)};
      parts.push_back(model.dct().backward(model.sample(part, tell, draws)));
    }
    out.push_back(torch::cat(parts));
    progress.update(k + 1, K);
  }
  return torch::stack(out);
}

Json means(const MotionMetrics& metrics, const std::string& prefix) {
  Json out;
  const std::pair<const char*, Tensor> all[] = {{"apd", metrics.apd},
                                                {"ade", metrics.ade},
                                                {"fde", metrics.fde},
                                                {"mmade", metrics.mmade},
                                                {"mmfde", metrics.mmfde}};
  for (const auto& [name, values] : all) out[prefix + name] = values.mean().item<double>();
  return out;
}

/// Mean distance to the truth in the first predicted frame, of all futures: large where a future does not go
/// on from what was seen. predicted [K, N, F, D].
double jump(const Tensor& trajectory, const Tensor& predicted, int64_t his) {
  return (predicted.select(2, 0) - trajectory.select(1, his)).norm(2, -1).mean().item<double>();
}

Result forecast(const Request& request) {
  const auto& model = model_of(request.model).model();
  const auto& config = request.config.generate;
  const int64_t his = model.config().mask.t_his;
  const auto windows = read_windows(request.model, request.test, request.config);
  const auto futures = futures_of(model, model.prediction(windows.trajectory), config,
                                  static_cast<uint64_t>(request.config.seed));
  const auto predicted = futures.slice(2, his);
  const auto still = windows.trajectory.slice(1, his - 1, his).expand_as(predicted[0]).unsqueeze(0);
  Result result;
  result.metrics = means(motion_metrics(windows.trajectory, predicted, config.multimodal_threshold), "");
  result.metrics.update(
      means(motion_metrics(windows.trajectory, still, config.multimodal_threshold), "still_"));
  result.metrics["first_frame"] = jump(windows.trajectory, predicted, his);
  result.metrics["still_first_frame"] = jump(windows.trajectory, still, his);
  result.settings = {{"windows", windows.trajectory.size(0)},
                     {"samples", config.samples},
                     {"stride", his},
                     {"multimodal_threshold", config.multimodal_threshold},
                     {"complete", config.complete},
                     {"note",
                      "still_*: the last observed pose repeated; first_frame: of all futures, in the "
                      "first predicted frame; distances in the unit of the data"}};
  return result;
}

MotionCompletion completion_of(const MotionDiffuser& model, const Tensor& trajectory,
                               const GenerateConfig& config) {
  if (config.mode == "predict") return model.prediction(trajectory);
  if (config.mode == "switch") return model.transition(trajectory);
  const std::vector<std::string> names{"right-leg", "left-leg",   "torso",     "left-arm",
                                       "right-arm", "lower-body", "upper-body"};
  auto joints = config.joints;
  if (!config.group.empty())
    joints = motion_joint_groups().at(
        static_cast<size_t>(std::find(names.begin(), names.end(), config.group) - names.begin()));
  if (joints.empty())
    fail("generate.mode control", "no joint is given",
         "name some: generate.joints=[0,1,2] or generate.group=left-arm");
  for (const int64_t joint : joints)
    if (joint >= model.config().encoder.joints)
      fail(str("generate.joints ", joint),
           str("the skeleton has ", model.config().encoder.joints, " besides its root"),
           "count them from 0, without the root");
  return model.control(trajectory, joints, trajectory.size(0));
}

Generated generate_motions(const Model& model, std::shared_ptr<data::Dataset> dataset,
                           const EvalConfig& config) {
  const auto& diffuser = model_of(model).model();
  const auto& parents = model.config->motion.parents;
  const int64_t his = diffuser.config().mask.t_his;
  const double rate = model.config->motion.rate > 0 ? model.config->motion.rate : kPlainRate;
  const auto windows = read_windows(model, dataset, config);
  const auto futures = futures_of(diffuser, completion_of(diffuser, windows.trajectory, config.generate),
                                  config.generate, static_cast<uint64_t>(config.seed));
  const auto motions = with_root(futures.transpose(0, 1));  // [N, K, T, J, 3]
  const auto truth = with_root(windows.trajectory);
  Generated out;
  out.tensors = {{"futures", motions.contiguous()}, {"motion", truth.contiguous()}};
  for (int64_t n = 0; n < truth.size(0); ++n) {
    out.items.push_back({{"key", windows.keys[static_cast<size_t>(n)]}, {"observed", his}});
    char name[32];
    std::snprintf(name, sizeof name, "%05lld.png", static_cast<long long>(n));
    if (config.generate.animate)
      out.files[str("animations/", name)] =
          io::encode_apng(train::motion_animation(truth[n], motions[n], parents, his), rate);
    Preview strip;
    strip.motion = truth.slice(0, n, n + 1);
    strip.observed = his;
    strip.futures = motions.slice(0, n, n + 1);
    out.files[str("strips/", name)] = io::encode_png(train::motion_panel(strip, parents));
  }
  return out;
}

const Register<Protocol> kForecast{
    "forecast",
    {.summary = "futures of motions: APD, ADE, FDE, MMADE, MMFDE of the best of generate.samples (HumanMAC)",
     .run = forecast,
     .labels = false}};
const Register<Generator> kGenerator{
    "humanmac", {"futures of motions, motions of given limbs, transitions", generate_motions}};

}  // namespace
}  // namespace lacuna::eval
