// Sound: keys audio.*.

#include <algorithm>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/audio.h"
#include "lacuna/data/transcripts.h"
#include "lacuna/train/modality.h"
#include "lacuna/train/spectrogram.h"

namespace lacuna::train {
namespace {

constexpr int64_t kNoiseSeconds = 10;  // of a record that speed is measured on, where the config allows it
constexpr int64_t kNoiseTokens = 100;  // said in it

/// Numbers the transcripts' tokens, by head.tokens, which is filled where it is empty.
std::shared_ptr<data::Dataset> with_transcripts(RunConfig& config, std::shared_ptr<data::Dataset> dataset) {
  auto& table = config.table;
  const data::TranscriptConfig transcripts{table.get("head.unit").get<std::string>(),
                                           table.get("head.words").get<std::vector<std::string>>()};
  if (table.get("head.tokens").empty())
    table.set("head.tokens", data::collect_tokens(*dataset, transcripts), "the data");
  return data::with_tokens(std::move(dataset), table.get("head.tokens").get<std::vector<std::string>>(),
                           transcripts);
}

class Sound final : public Modality {
 public:
  std::string items() const override { return "recordings"; }
  std::string default_data() const override { return "synthetic:speech"; }

  void add_keys(RunConfig& config) const override { config.table.add("audio", config.audio); }

  void resolve(RunConfig& config) const override {
    const auto& audio = config.audio;
    if (audio.min_samples > audio.max_samples)
      fail(str("audio.min_samples ", audio.min_samples),
           str("is above audio.max_samples ", audio.max_samples), "lower it");
    if (audio.crop == "fixed" && audio.batch_samples > 0 &&
        audio.max_samples * config.train.batch_size > audio.batch_samples)
      fail(str("audio.batch_samples ", audio.batch_samples),
           str("is less than train.batch_size ", config.train.batch_size, " rows of audio.max_samples ",
               audio.max_samples),
           "raise it (0: no bound), or lower one of them");
  }

  std::shared_ptr<data::Dataset> settle(RunConfig& config,
                                        std::shared_ptr<data::Dataset> dataset) const override {
    const auto& audio = config.audio;
    if (!audio.labels.empty()) {
      dataset = data::with_frame_labels(std::move(dataset), audio.labels, audio.label_rate);
      if (config.table.has("target.num_classes") && !config.table.is_set("target.num_classes"))
        config.table.set("target.num_classes", data::frame_label_classes(*dataset), "the labels");
    }
    if (config.table.has("head.tokens")) dataset = with_transcripts(config, std::move(dataset));
    return data::long_enough(std::move(dataset), audio.min_samples, audio.sample_rate,
                             std::max<int64_t>(1, config.train.workers));
  }

  void require_settled(const RunConfig& /*config*/, const std::string& /*origin*/) const override {}

  std::shared_ptr<const data::Transform> transform(const RunConfig& config,
                                                   const InputSpec& /*input*/) const override {
    return std::make_shared<const data::AudioTransform>(config.audio);
  }

  Batch noise(const RunConfig& config, const InputSpec& /*input*/, int64_t samples,
              Draws& draws) const override {
    const auto& audio = config.audio;
    int64_t length = std::min(audio.max_samples, kNoiseSeconds * audio.sample_rate);
    if (audio.batch_samples > 0)
      length = std::min(length, std::max<int64_t>(1, audio.batch_samples / samples));
    Batch batch;
    batch.wave = draws.normal("wave", {samples, length}) * 0.1;
    batch.wave_length = torch::full({samples}, length, torch::kLong);
    if (config.table.has("head.tokens"))
      batch.tokens = (draws.uniform("tokens", {samples, kNoiseTokens}) *
                      static_cast<double>(config.table.get("head.tokens").size()))
                         .to(torch::kLong);
    if (!config.table.has("target.num_classes")) return batch;
    const double seconds = static_cast<double>(length) / static_cast<double>(audio.sample_rate);
    const auto frames = std::max<int64_t>(1, static_cast<int64_t>(seconds * audio.label_rate));
    std::vector<Tensor> sets;
    for (const auto classes : config.table.get("target.num_classes").get<std::vector<int64_t>>())
      sets.push_back(
          (draws.uniform(str("labels.", sets.size()), {samples, frames}) * classes).to(torch::kLong));
    batch.frame_label = torch::stack(sets, 1);
    return batch;
  }

  Tensor panel(const Preview& preview, const RunConfig& config) const override {
    return sound_panel(preview, config.audio.sample_rate);
  }

  /// Of the hidden frames whose label is known: accuracy beyond always naming the most frequent label.
  std::optional<Skill> skill(const Preview& preview) const override {
    if (!preview.true_labels.defined()) return std::nullopt;
    const auto known = preview.hidden_frames & (preview.true_labels >= 0);
    const auto wanted = preview.true_labels.masked_select(known);
    if (wanted.numel() == 0) return std::nullopt;
    const double count = static_cast<double>(wanted.numel());
    const double right =
        preview.predicted_labels.masked_select(known).eq(wanted).sum().item<double>() / count;
    const double guess = wanted.bincount().max().item<double>() / count;
    const double over = guess < 1 ? (right - guess) / (1 - guess) : 0;
    return Skill{over, over};
  }
};

const Register<ModalityEntry> registered{"audio", {std::make_shared<Sound>()}};

}  // namespace
}  // namespace lacuna::train
