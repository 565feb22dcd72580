// Motions: keys motion.*.

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/motion.h"
#include "lacuna/train/modality.h"
#include "lacuna/train/motion_picture.h"

namespace lacuna::train {
namespace {

constexpr int64_t kAnimated = 3;   // motions one below another
constexpr double kPlainRate = 25;  // of an animation whose rate is not known

class Motions final : public Modality {
 public:
  std::string items() const override { return "motions"; }
  std::string default_data() const override { return "synthetic:walkers"; }

  void add_keys(RunConfig& config) const override { config.table.add("motion", config.motion); }
  void resolve(RunConfig& /*config*/) const override {}

  std::shared_ptr<data::Dataset> settle(RunConfig& config,
                                        std::shared_ptr<data::Dataset> dataset) const override {
    const auto first = data::decode_motion(dataset->get(0));
    const auto skeleton = data::keep_joints(*first.skeleton, config.motion.keep);
    if (config.motion.parents.empty()) config.table.set("motion.parents", skeleton.parents, "the data");
    if (!config.table.is_set("encoder.joints"))
      config.table.set("encoder.joints", std::ssize(config.motion.parents) - 1, "the data");
    if (config.motion.rate == 0 && first.rate > 0) config.table.set("motion.rate", first.rate, "the data");
    return data::motion_samples(std::move(dataset), config.motion, frames(config));
  }

  void require_settled(const RunConfig& config, const std::string& origin) const override {
    if (config.motion.parents.empty())
      fail(str(origin, ": motion.parents"), "is not given",
           "give the parent of each joint: --set motion.parents=[-1,0,...]");
  }

  std::shared_ptr<const data::Transform> transform(const RunConfig& config,
                                                   const InputSpec& input) const override {
    return std::make_shared<const data::MotionTransform>(config.motion, input.frames);
  }

  Batch noise(const RunConfig& config, const InputSpec& input, int64_t samples, Draws& draws) const override {
    const int64_t joints = config.table.get("encoder.joints").get<int64_t>() + 1;
    Batch batch;
    batch.motion = draws.normal("motion", {samples, input.frames, joints, 3});
    batch.motion.select(2, 0).zero_();
    return batch;
  }

  Tensor panel(const Preview& preview, const RunConfig& config) const override {
    return motion_panel(preview, config.motion.parents);
  }

  Animation animation(const Preview& preview, const RunConfig& config) const override {
    if (!preview.futures.defined()) return {};
    std::vector<Tensor> rows;
    for (int64_t b = 0; b < std::min(kAnimated, preview.motion.size(0)); ++b)
      rows.push_back(
          motion_animation(preview.motion[b], preview.futures[b], config.motion.parents, preview.observed));
    return {torch::cat(rows, 1), config.motion.rate > 0 ? config.motion.rate : kPlainRate};
  }

  /// Squared error of the first future, against the last observed pose kept and against its speed kept.
  std::optional<Skill> skill(const Preview& preview) const override {
    if (!preview.futures.defined()) return std::nullopt;
    const int64_t seen = preview.observed;
    const auto truth = preview.motion.slice(1, seen), last = preview.motion.slice(1, seen - 1, seen);
    const auto speed =
        seen > 1 ? last - preview.motion.slice(1, seen - 2, seen - 1) : torch::zeros_like(last);
    const auto steps = torch::arange(1, truth.size(1) + 1, torch::kFloat).view({1, -1, 1, 1});
    const auto error = [&](const Tensor& guess) { return (guess - truth).square().sum().item<double>(); };
    const double own = error(preview.futures.select(1, 0).slice(1, seen));
    const auto share = [&](const Tensor& guess) {
      const double plain = error(guess);
      return plain > 0 ? 1 - own / plain : 0;
    };
    return Skill{share(last.expand_as(truth)), share(last + speed * steps)};
  }

 private:
  static int64_t frames(const RunConfig& config) {
    return config.table.get("mask.t_his").get<int64_t>() + config.table.get("mask.t_pred").get<int64_t>();
  }
};

const Register<ModalityEntry> registered{"motion", {std::make_shared<Motions>()}};

}  // namespace
}  // namespace lacuna::train
