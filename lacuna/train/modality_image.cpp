// Pictures: keys data.mean, data.std, data.max_pixels and augment.*.

#include "lacuna/core/error.h"
#include "lacuna/data/inspect.h"
#include "lacuna/data/known_figures.h"
#include "lacuna/data/transform.h"
#include "lacuna/train/modality.h"
#include "lacuna/train/picture.h"

namespace lacuna::train {
namespace {

constexpr int64_t kMeasuredRecords = 2048;  // enough for mean and std to three digits

class Pictures final : public Modality {
 public:
  std::string items() const override { return "pictures"; }
  std::string default_data() const override { return "synthetic:scenes"; }

  void add_keys(RunConfig& config) const override {
    config.table.add("data", static_cast<PictureConfig&>(config.data));
    config.table.add("augment", config.augment);
  }

  void resolve(RunConfig& config) const override {
    check_normalization(config.data, channels(config));
    if (config.augment.scale.size() != 2 || config.augment.ratio.size() != 2)
      fail("augment.scale and augment.ratio", "not two values each",
           "give smallest and largest, e.g. [0.2, 1.0]");
  }

  std::shared_ptr<data::Dataset> settle(RunConfig& config,
                                        std::shared_ptr<data::Dataset> dataset) const override {
    const bool channels_given = config.table.is_set("encoder.in_chans");
    if (channels_given && !config.data.mean.empty()) return dataset;
    if (const auto known = data::known_normalization(*dataset, channels_given ? channels(config) : 0)) {
      take_figures(config, static_cast<int64_t>(known->mean.size()), *known);
      return dataset;
    }
    const auto report = data::inspect_dataset(
        *dataset, kMeasuredRecords, channels_given ? channels(config) : 0,
        std::max<int64_t>(1, config.train.workers), {.max_pixels = config.data.max_pixels});
    if (report.read == 0)
      fail(config.data.uri, str("none of its ", report.count, " records can be read"),
           "see `lacuna inspect`");
    take_figures(config, report.main_channels, report.normalization());
    return dataset;
  }

  void require_settled(const RunConfig& config, const std::string& origin) const override {
    require_normalization(config.data, channels(config), origin);
  }

  std::shared_ptr<const data::Transform> transform(const RunConfig& config,
                                                   const InputSpec& input) const override {
    return std::make_shared<const data::ImageTransform>(
        config.augment, input.size, input.channels, normalization(config),
        io::ImageLimits{.max_pixels = config.data.max_pixels});
  }

  Batch noise(const RunConfig& /*config*/, const InputSpec& input, int64_t samples,
              Draws& draws) const override {
    Batch batch;
    batch.image = draws.normal("picture", {samples, input.channels, input.size.h, input.size.w});
    return batch;
  }

  Tensor panel(const Preview& preview, const RunConfig& config) const override {
    return preview_panel(preview, normalization(config));
  }

  std::optional<Skill> skill(const Preview& preview) const override {
    if (!preview.predicted.defined()) return std::nullopt;
    return reconstruction_skill(preview);
  }

 private:
  /// Those of the data, where the user gives none.
  static void take_figures(RunConfig& config, int64_t channels, const data::Normalization& measured) {
    if (!config.table.is_set("encoder.in_chans")) config.table.set("encoder.in_chans", channels, "the data");
    if (!config.data.mean.empty()) return;
    config.table.set("data.mean", measured.mean, "the data");
    config.table.set("data.std", measured.std, "the data");
  }
  static int64_t channels(const RunConfig& config) {
    return config.table.get("encoder.in_chans").get<int64_t>();
  }
  static data::Normalization normalization(const RunConfig& config) {
    return {config.data.mean, config.data.std};
  }
};

const Register<ModalityEntry> registered{"image", {std::make_shared<Pictures>()}};

}  // namespace
}  // namespace lacuna::train
