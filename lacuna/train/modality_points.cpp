// Clouds of points: keys points.*.

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/points.h"
#include "lacuna/train/modality.h"
#include "lacuna/train/points_picture.h"

namespace lacuna::train {
namespace {

constexpr int64_t kNoisePoints = 4096;  // of a cloud that stands for any
constexpr double kNoiseSpread = 3;      // metres

class Clouds final : public Modality {
 public:
  std::string items() const override { return "clouds"; }
  std::string default_data() const override { return "synthetic:rooms"; }

  void add_keys(RunConfig& config) const override { config.table.add("points", config.points); }
  void resolve(RunConfig& config) const override { config.points.check(); }

  std::shared_ptr<data::Dataset> settle(RunConfig& config,
                                        std::shared_ptr<data::Dataset> dataset) const override {
    if (config.points.fields_kept.empty())
      config.table.set("points.fields_kept", data::decode_points(dataset->get(0)).fields, "the data");
    const int64_t count = std::ssize(config.points.fields_kept);
    if (!config.table.is_set("encoder.in_chans")) config.table.set("encoder.in_chans", count, "the data");
    if (config.table.get("encoder.in_chans").get<int64_t>() != count)
      fail(str("encoder.in_chans ", config.table.get("encoder.in_chans").dump()),
           str("the points have ", count, " numbers (", join(config.points.fields_kept), ")"),
           "choose so many by points.fields_kept");
    return dataset;
  }

  void require_settled(const RunConfig& config, const std::string& origin) const override {
    if (config.points.fields_kept.empty())
      fail(str(origin, ": points.fields_kept"), "is not given",
           "name the numbers of a point: --set points.fields_kept=[x,y,z]");
  }

  std::shared_ptr<const data::Transform> transform(const RunConfig& config,
                                                   const InputSpec& /*input*/) const override {
    return std::make_shared<const data::PointsTransform>(config.points);
  }

  Batch noise(const RunConfig& /*config*/, const InputSpec& input, int64_t samples,
              Draws& draws) const override {
    Batch batch;
    batch.points = draws.normal("points", {samples, kNoisePoints, input.channels}) * kNoiseSpread;
    batch.point_count = torch::full({samples}, kNoisePoints, torch::kLong);
    return batch;
  }

  Tensor panel(const Preview& preview, const RunConfig& /*config*/) const override {
    return points_panel(preview);
  }

  /// Against the guess that needs no learning, as the method has it.
  std::optional<Skill> skill(const Preview& preview) const override {
    if (!preview.explained) return std::nullopt;
    return Skill{*preview.explained, *preview.explained};
  }
};

const Register<ModalityEntry> registered{"points", {std::make_shared<Clouds>()}};

}  // namespace
}  // namespace lacuna::train
