#include "lacuna/data/audio.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/data/parallel.h"

namespace lacuna::data {

namespace {

constexpr double kVarianceFloor = 1e-5;  // fairseq's layer_norm
/// Labels may fall short of the sound by a frame or two of their window, not by more than this.
constexpr double kLabelTolerance = 0.1;  // seconds, as fairseq's verify_label_lengths

/// A sample on its way into a batch.
struct Sound {
  std::vector<float> samples;
  std::vector<FrameLabels> labels;
  std::shared_ptr<const std::vector<int32_t>> tokens;
  Stream random{0, ""};
};

int64_t rounded(double value) { return static_cast<int64_t>(std::nearbyint(value)); }

void check_label_lengths(const Record& record, double seconds) {
  for (const auto& labels : record.frame_labels) {
    const double covered = static_cast<double>(labels.values->size()) / labels.rate;
    if (std::abs(covered - seconds) > kLabelTolerance)
      fail(record.key,
           str("its labels last ", covered, " s, its sound ", seconds,
               " s: audio and label duration differ too much"),
           "check audio.label_rate (100 for MFCC, 50 for layers) and that the file belongs to these data");
  }
}

class AudioFilling final : public Filling {
 public:
  AudioFilling(const AudioConfig& config, bool evaluating, int64_t rows)
      : config_(config), evaluating_(evaluating), rows_(static_cast<size_t>(rows)) {}

  void fill(int64_t row, const Record& record, Stream random) override {
    auto audio = decode_sound(record, config_.sample_rate);
    const auto count = std::ssize(audio.samples);
    check_label_lengths(record, static_cast<double>(count) / static_cast<double>(config_.sample_rate));
    if (config_.normalize) normalize_wave(audio.samples);
    rows_[static_cast<size_t>(row)] = {std::move(audio.samples), record.frame_labels, record.tokens, random};
  }

  Batch finish(const std::vector<int64_t>& rows) override {
    Batch batch;
    const int64_t size = row_length(rows), count = std::ssize(rows);
    batch.wave = at::zeros({count, size}, at::kFloat);
    batch.wave_length = at::empty({count}, at::kLong);
    std::vector<std::vector<std::vector<int64_t>>> labels;
    for (int64_t i = 0; i < count; ++i) {
      auto& sound = rows_[static_cast<size_t>(rows[static_cast<size_t>(i)])];
      const int64_t extra = std::max<int64_t>(0, std::ssize(sound.samples) - size);
      const int64_t start = extra > 0 && !evaluating_ ? sound.random.below(extra + 1) : 0;
      const int64_t length = std::min(size, std::ssize(sound.samples));
      std::copy_n(sound.samples.begin() + start, length, batch.wave.data_ptr<float>() + i * size);
      batch.wave_length.data_ptr<int64_t>()[i] = length;
      labels.push_back(crop_labels(sound.labels, start, length));
    }
    batch.frame_label = stack_labels(labels);
    batch.tokens = stack_tokens(rows);
    return batch;
  }

 private:
  int64_t row_length(const std::vector<int64_t>& rows) const {
    if (rows.empty()) return 0;
    int64_t shortest = INT64_MAX, longest = 0;
    for (const int64_t row : rows) {
      const auto length = std::ssize(rows_[static_cast<size_t>(row)].samples);
      shortest = std::min(shortest, length), longest = std::max(longest, length);
    }
    const bool fixed = config_.crop == "fixed" && !evaluating_;
    const bool cut = config_.crop == "shortest" && !evaluating_;
    int64_t size = fixed ? config_.max_samples : std::min(cut ? shortest : longest, config_.max_samples);
    if (config_.batch_samples > 0)
      size = std::min(size, std::max<int64_t>(1, config_.batch_samples / std::ssize(rows)));
    return size;
  }

  std::vector<std::vector<int64_t>> crop_labels(const std::vector<FrameLabels>& sets, int64_t start,
                                                int64_t length) const {
    std::vector<std::vector<int64_t>> out;
    for (const auto& set : sets) {
      const double ratio = set.rate / static_cast<double>(config_.sample_rate);
      const auto& all = *set.values;
      const int64_t first = std::min(rounded(static_cast<double>(start) * ratio), std::ssize(all));
      const int64_t last = std::min(first + rounded(static_cast<double>(length) * ratio), std::ssize(all));
      out.emplace_back(all.begin() + first, all.begin() + last);
    }
    return out;
  }

  static at::Tensor stack_labels(const std::vector<std::vector<std::vector<int64_t>>>& labels) {
    const auto sets = labels.empty() ? 0 : std::ssize(labels.front());
    if (sets == 0) return {};
    int64_t longest = 0;
    for (const auto& row : labels)
      for (const auto& set : row) longest = std::max<int64_t>(longest, std::ssize(set));
    auto out = at::full({std::ssize(labels), sets, longest}, -1, at::kLong);
    auto* value = out.data_ptr<int64_t>();
    for (const auto& row : labels)
      for (const auto& set : row) {
        std::copy(set.begin(), set.end(), value);
        value += longest;
      }
    return out;
  }

  at::Tensor stack_tokens(const std::vector<int64_t>& rows) const {
    int64_t longest = -1;
    for (const int64_t row : rows)
      if (const auto& own = rows_[static_cast<size_t>(row)].tokens)
        longest = std::max(longest, std::ssize(*own));
    if (longest < 0) return {};
    auto out = at::full({std::ssize(rows), longest}, -1, at::kLong);
    auto* value = out.data_ptr<int64_t>();
    for (const int64_t row : rows) {
      if (const auto& own = rows_[static_cast<size_t>(row)].tokens)
        std::copy(own->begin(), own->end(), value);
      value += longest;
    }
    return out;
  }

  const AudioConfig& config_;
  bool evaluating_;
  std::vector<Sound> rows_;
};

std::vector<int32_t> parse_labels(std::string_view line, const std::string& file, size_t number) {
  std::vector<int32_t> out;
  const char *at = line.data(), *end = at + line.size();
  while (at < end) {
    if (*at == ' ' || *at == '\t' || *at == '\r') {
      ++at;
      continue;
    }
    int32_t value = -1;
    const auto [next, error] = std::from_chars(at, end, value);
    if (error != std::errc() || value < 0)
      fail(file, str("line ", number, " holds something that is no label"),
           "write numbers >= 0 with spaces between");
    out.push_back(value);
    at = next;
  }
  return out;
}

/// The lines of a label file.
std::vector<std::shared_ptr<const std::vector<int32_t>>> read_labels(const std::string& file) {
  std::vector<std::shared_ptr<const std::vector<int32_t>>> out;
  const std::string text = io::read_file(file);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    out.push_back(std::make_shared<const std::vector<int32_t>>(
        parse_labels(std::string_view(text).substr(begin, end - begin), file, out.size() + 1)));
    begin = end + 1;
  }
  return out;
}

class FrameLabelled final : public Dataset {
 public:
  FrameLabelled(std::shared_ptr<Dataset> whole, const std::vector<std::string>& files, double rate)
      : whole_(std::move(whole)), rate_(rate) {
    for (const auto& file : files) {
      sets_.push_back(read_labels(file));
      if (std::ssize(sets_.back()) != whole_->size())
        fail(file,
             str("labels ", sets_.back().size(), " records, ", whole_->uri(), " holds ", whole_->size()),
             "make the labels from the same data and split: `lacuna targets assign`");
    }
  }
  int64_t size() const override { return whole_->size(); }
  Record get(int64_t index) const override {
    Record record = whole_->get(index);
    for (const auto& set : sets_) record.frame_labels.push_back({set[static_cast<size_t>(index)], rate_});
    return record;
  }
  int64_t label(int64_t index) const override { return whole_->label(index); }
  std::vector<std::string> classes() const override { return whole_->classes(); }
  std::string transcript(int64_t index) const override { return whole_->transcript(index); }
  std::string uri() const override { return whole_->uri(); }
  std::string modality() const override { return whole_->modality(); }

  std::vector<int64_t> label_classes() const {
    std::vector<int64_t> out;
    for (const auto& set : sets_) {
      int32_t most = -1;
      for (const auto& line : set)
        for (const int32_t value : *line) most = std::max(most, value);
      out.push_back(most + 1);
    }
    return out;
  }

 private:
  std::shared_ptr<Dataset> whole_;
  double rate_;
  std::vector<std::vector<std::shared_ptr<const std::vector<int32_t>>>> sets_;
};

/// Samples at `sample_rate`, from the header; -1 when it can't be read.
int64_t length_of(const Dataset& dataset, int64_t index, int64_t sample_rate) {
  try {
    const Record record = dataset.get(index);
    if (const auto* audio = std::get_if<io::Audio>(&record.content))
      return std::ssize(audio->samples) * sample_rate / audio->sample_rate;
    const auto info = io::probe_audio(encoded_bytes(record), record.key);
    return info.samples * sample_rate / info.sample_rate;
  } catch (const Error&) {
    return -1;
  }
}

}  // namespace

void AudioConfig::fields(Fields& f) {
  f("sample_rate", sample_rate, "Hz; everything is resampled to it").range(1000, 384000);
  f("crop", crop,
    "rows of a batch: cut to its shortest (at a random start), filled with zeros to its longest, or fixed "
    "(cut or filled to max_samples)")
      .choices({"shortest", "longest", "fixed"});
  f("max_samples", max_samples, "samples of a row at most").range(1);
  f("min_samples", min_samples, "shorter records are left out of training").range(0);
  f("batch_samples", batch_samples, "samples of a batch at most: longer rows are cut; 0: no bound").range(0);
  f("normalize", normalize, "each record to mean 0 and variance 1 (Large models)");
  f("labels", labels, "files of frame labels, one for each label set (`lacuna targets`)");
  f("label_rate", label_rate, "frame labels a second: 100 from MFCC, 50 from a model's layers").range(0.1);
}

io::Audio decode_sound(const Record& record, int64_t sample_rate) {
  if (const auto* audio = std::get_if<io::Audio>(&record.content)) return io::resample(*audio, sample_rate);
  return io::resample(io::decode_audio(encoded_bytes(record), record.key), sample_rate);
}

void normalize_wave(std::vector<float>& samples) {
  const auto count = static_cast<double>(samples.size());
  const double mean = std::accumulate(samples.begin(), samples.end(), 0.0) / count;
  double variance = 0;
  for (const float x : samples) variance += (x - mean) * (x - mean);
  const double scale = 1 / std::sqrt(variance / count + kVarianceFloor);
  for (float& x : samples) x = static_cast<float>((x - mean) * scale);
}

std::unique_ptr<Filling> AudioTransform::begin(int64_t rows) const {
  return std::make_unique<AudioFilling>(config_, evaluating_, rows);
}

std::shared_ptr<const Transform> AudioTransform::evaluating() const {
  auto out = std::make_shared<AudioTransform>(config_);
  out->evaluating_ = true;
  return out;
}

std::shared_ptr<Dataset> with_frame_labels(std::shared_ptr<Dataset> whole,
                                           const std::vector<std::string>& files, double label_rate) {
  return std::make_shared<FrameLabelled>(std::move(whole), files, label_rate);
}

std::vector<int64_t> frame_label_classes(const Dataset& labelled) {
  const auto* dataset = dynamic_cast<const FrameLabelled*>(&labelled);
  LACUNA_ASSERT(dataset);
  return dataset->label_classes();
}

std::shared_ptr<Dataset> long_enough(std::shared_ptr<Dataset> whole, int64_t min_samples, int64_t sample_rate,
                                     int64_t workers) {
  std::vector<int64_t> lengths(static_cast<size_t>(whole->size())), kept;
  parallel(whole->size(), workers,
           [&](int64_t i) { lengths[static_cast<size_t>(i)] = length_of(*whole, i, sample_rate); });
  for (int64_t i = 0; i < whole->size(); ++i)
    if (const int64_t length = lengths[static_cast<size_t>(i)]; length < 0 || length >= min_samples)
      kept.push_back(i);
  if (kept.empty())
    fail(whole->uri(), str("none of its records has ", min_samples, " samples (audio.min_samples)"),
         "lower audio.min_samples");
  if (std::ssize(kept) == whole->size()) return whole;
  log::info(str(whole->size() - std::ssize(kept), " of ", whole->size(), " records have fewer than ",
                min_samples, " samples and are left out"));
  return subset(std::move(whole), std::move(kept));
}

bool is_sound_extension(std::string extension) {
  if (extension.starts_with(".")) extension.erase(0, 1);
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  for (const char* known : {"wav", "flac", "mp3", "ogg", "opus", "aif", "aiff", "au"})
    if (extension == known) return true;
  return false;
}

}  // namespace lacuna::data
