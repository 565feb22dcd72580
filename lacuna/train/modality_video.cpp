// Films: keys data.mean, data.std, data.max_pixels and video.*.

#include "lacuna/core/error.h"
#include "lacuna/data/inspect_video.h"
#include "lacuna/data/video.h"
#include "lacuna/train/film.h"
#include "lacuna/train/modality.h"

namespace lacuna::train {
namespace {

constexpr int64_t kMeasuredRecords = 256;
constexpr double kShownRate = 8;  // frames of a preview a second

class Films final : public Modality {
 public:
  std::string items() const override { return "films"; }
  std::string default_data() const override { return "synthetic:moving"; }

  void add_keys(RunConfig& config) const override {
    config.table.add("data", static_cast<PictureConfig&>(config.data));
    config.table.add("video", config.video);
  }

  void resolve(RunConfig& config) const override { check_normalization(config.data, channels(config)); }

  std::shared_ptr<data::Dataset> settle(RunConfig& config,
                                        std::shared_ptr<data::Dataset> dataset) const override {
    const io::VideoLimits limits{config.data.max_pixels, config.video.max_frames};
    if (config.data.mean.empty()) {
      const auto measured = data::measure_films(*dataset, kMeasuredRecords, channels(config),
                                                std::max<int64_t>(1, config.train.workers), limits);
      config.table.set("data.mean", measured.mean, "the data");
      config.table.set("data.std", measured.std, "the data");
    }
    return dataset;
  }

  void require_settled(const RunConfig& config, const std::string& origin) const override {
    require_normalization(config.data, channels(config), origin);
  }

  std::shared_ptr<const data::Transform> transform(const RunConfig& config,
                                                   const InputSpec& input) const override {
    return std::make_shared<const data::VideoTransform>(config.video, input.frames, input.size,
                                                        input.channels, normalization(config),
                                                        config.data.max_pixels);
  }

  Batch noise(const RunConfig& /*config*/, const InputSpec& input, int64_t samples,
              Draws& draws) const override {
    Batch batch;
    batch.video = draws.normal("film", {samples, input.channels, input.frames, input.size.h, input.size.w});
    return batch;
  }

  Tensor panel(const Preview& preview, const RunConfig& config) const override {
    return film_strip(preview, normalization(config));
  }

  Animation animation(const Preview& preview, const RunConfig& config) const override {
    return {moving_panel(preview, normalization(config)), kShownRate};
  }

  /// Of the targets, which may be features: a frame's neighbours say nothing about those.
  std::optional<Skill> skill(const Preview& preview) const override {
    if (!preview.explained) return std::nullopt;
    return Skill{*preview.explained, *preview.explained};
  }

 private:
  static int64_t channels(const RunConfig& config) {
    return config.table.get("encoder.in_chans").get<int64_t>();
  }
  static data::Normalization normalization(const RunConfig& config) {
    return {config.data.mean, config.data.std};
  }
};

const Register<ModalityEntry> registered{"video", {std::make_shared<Films>()}};

}  // namespace
}  // namespace lacuna::train
