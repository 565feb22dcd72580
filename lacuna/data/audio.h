#pragma once
// Sound: records of waveforms, their crops and padding, labels of their frames.

#include <memory>
#include <string>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/data/dataset.h"
#include "lacuna/data/input.h"

namespace lacuna::data {

/// Keys `audio.*`: how a record becomes a waveform (fairseq's HubertDataset).
struct AudioConfig {
  int64_t sample_rate = 16000;
  std::string crop = "shortest";  ///< shortest | longest | fixed: the length of a batch's rows
  int64_t max_samples = 250000;
  int64_t min_samples = 32000;
  int64_t batch_samples = 1400000;  ///< of all rows together; 0: no bound
  bool normalize = false;
  std::vector<std::string> labels;  ///< files of frame labels, one a set
  double label_rate = 100;
  void fields(Fields& f);
};

/// The record's sound, mono, at `sample_rate`. Error when it is broken.
io::Audio decode_sound(const Record& record, int64_t sample_rate);

/// Record -> row of batch.wave, with its frame labels where the record has some.
///   shortest: all rows are cut to the shortest of the batch, at a random start (official, pad_audio false)
///   longest:  rows are filled with zeros to the longest (pad_audio true)
///   fixed:    every row is cut or filled to max_samples, whatever its batch
/// In each case no row is longer than max_samples, nor than batch_samples / rows. Labels of a crop: with
/// ratio s = label rate / sample rate the first is round(start * s), their number round(size * s).
class AudioTransform final : public Transform {
 public:
  explicit AudioTransform(AudioConfig config) : config_(std::move(config)) {}
  std::unique_ptr<Filling> begin(int64_t rows) const override;
  /// Whole records up to max_samples, filled to the longest.
  std::shared_ptr<const Transform> evaluating() const override;
  const AudioConfig& config() const { return config_; }

 private:
  AudioConfig config_;
  bool evaluating_ = false;
};

/// (x - mean) / sqrt(variance + 1e-5) over the whole utterance, biased variance (fairseq's layer_norm of the
/// waveform). Silence becomes zeros.
void normalize_wave(std::vector<float>& samples);

/// `whole` with labels of its frames: `files` hold a line for each record, in the records' order, of numbers
/// with spaces between (fairseq's .km). Error: another number of lines than records, or a word that is no
/// number >= 0.
std::shared_ptr<Dataset> with_frame_labels(std::shared_ptr<Dataset> whole,
                                           const std::vector<std::string>& files, double label_rate);
/// The number of classes of each file: its largest label + 1.
std::vector<int64_t> frame_label_classes(const Dataset& labelled);

/// Records of at least `min_samples` samples at `sample_rate`; headers alone are read. Broken records are
/// kept (the loader names them). Error when none is left.
std::shared_ptr<Dataset> long_enough(std::shared_ptr<Dataset> whole, int64_t min_samples, int64_t sample_rate,
                                     int64_t workers);

/// wav, flac, mp3, ogg, opus, aif, aiff or au, in any case; `extension` with or without its dot.
bool is_sound_extension(std::string extension);

}  // namespace lacuna::data
