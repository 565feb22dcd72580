#pragma once
// What the loop asks of a kind of signal. Each is one file, train/modality_NAME.cpp, beside its files in
// data/.

#include <memory>
#include <optional>
#include <string>

#include "lacuna/core/registry.h"
#include "lacuna/data/input.h"
#include "lacuna/train/config.h"
#include "lacuna/train/health.h"

namespace lacuna::train {

/// Error unless data.mean and data.std are both empty or hold a value for each channel.
void check_normalization(const PictureConfig& data, int64_t channels);
/// Error unless they hold a value for each channel.
void require_normalization(const PictureConfig& data, int64_t channels, const std::string& origin);

/// Whether a method of `wanted` can read `given` data: of the same modality; captioned methods read pictures.
bool reads(const std::string& wanted, const std::string& given);

/// A kind of signal: pictures, sound, ...
class Modality {
 public:
  virtual ~Modality() = default;
  virtual std::string items() const = 0;         ///< "pictures"
  virtual std::string default_data() const = 0;  ///< a data URI that needs no file
  /// The keys of its data and augmentation, added to `config.table`.
  virtual void add_keys(RunConfig& config) const = 0;
  /// Refuses impossible values of those keys.
  virtual void resolve(RunConfig& config) const = 0;
  /// Fills the keys that follow from the data (mean, channels, ...); may wrap them (frame labels).
  virtual std::shared_ptr<data::Dataset> settle(RunConfig& config,
                                                std::shared_ptr<data::Dataset> dataset) const = 0;
  /// Another part of the data (a test split) with what settle() wraps around records (captions of classes).
  virtual std::shared_ptr<data::Dataset> dress(const RunConfig& /*config*/,
                                               std::shared_ptr<data::Dataset> dataset) const {
    return dataset;
  }
  /// Error when a key that settle() fills is not there: weights from elsewhere.
  virtual void require_settled(const RunConfig& config, const std::string& origin) const = 0;
  virtual std::shared_ptr<const data::Transform> transform(const RunConfig& config,
                                                           const InputSpec& input) const = 0;
  /// Inputs of the right shape that say nothing, for measuring speed.
  virtual Batch noise(const RunConfig& config, const InputSpec& input, int64_t samples,
                      Draws& draws) const = 0;
  /// [H, W, 3] uint8: what was hidden and what is predicted.
  virtual Tensor panel(const Preview& preview, const RunConfig& config) const = 0;
  /// [T, H, W, 3] uint8, shown `rate` frames a second, where the panel has movement; else undefined.
  struct Animation {
    Tensor frames;
    double rate = 8;
  };
  virtual Animation animation(const Preview& /*preview*/, const RunConfig& /*config*/) const { return {}; }
  /// How much of what was hidden is explained; nullopt where a preview can't say.
  virtual std::optional<Skill> skill(const Preview& preview) const = 0;
};

/// As registered, by the name that InputSpec::modality and Dataset::modality() give.
struct ModalityEntry {
  static const char* noun() { return "modality"; }
  std::shared_ptr<const Modality> modality;
};

}  // namespace lacuna::train
