#include "lacuna/train/targets.h"

#include <cmath>
#include <fstream>

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/features.h"
#include "lacuna/data/inspect.h"
#include "lacuna/data/loader.h"
#include "lacuna/io/safetensors.h"
#include "lacuna/method/speech_targets.h"
#include "lacuna/train/signals.h"

namespace lacuna::train {

namespace {

namespace fs = io::fs;

constexpr int64_t kBatch = 16;          // records at once
constexpr int64_t kCodeWidth = 16;      // of the random projection
constexpr int64_t kLinesBetween = 512;  // records between writes of label files

/// Whole records, none dropped, none cut.
data::Loader whole_records(std::shared_ptr<data::Dataset> dataset, data::AudioConfig audio, int64_t workers) {
  audio.crop = "longest";
  audio.max_samples = INT64_MAX;
  audio.batch_samples = 0;
  audio.labels.clear();
  const int64_t all = dataset->size();
  const data::AudioTransform transform(audio);
  return data::Loader(
      std::move(dataset), transform.evaluating(),
      {.batch_size = kBatch, .workers = workers, .shuffle = false, .drop_last = false, .max_bad = all});
}

data::KaldiConfig kaldi_of(const target::TargetConfig& config, const data::AudioConfig& audio) {
  data::KaldiConfig out;
  out.sample_rate = audio.sample_rate;
  if (config.source == "logmel") out.num_mel_bins = 80;
  return out;
}

/// Random features: MFCC of each record brought to mean 0 and deviation 1, projected, made unit vectors.
Tensor random_projection(const Tensor& mfcc) {
  SeededDraws draws(0);
  const auto projection = draws.normal("targets/projection", {mfcc.size(1), kCodeWidth});
  const auto centred = mfcc - mfcc.mean(0, true);
  const auto scaled = centred / (centred.square().mean(0, true) + 1e-5).sqrt();
  const auto projected = torch::mm(scaled, projection);
  return projected / torch::linalg_vector_norm(projected, 2, c10::IntArrayRef({1}), true).clamp_min(1e-8);
}

target::Codebooks random_codes(int64_t clusters) {
  SeededDraws draws(0);
  const auto codes = draws.normal("targets/codes", {clusters, kCodeWidth});
  return target::Codebooks({codes / torch::linalg_vector_norm(codes, 2, c10::IntArrayRef({1}), true)});
}

void stop_if_asked(const std::string& where) {
  if (SignalGuard::requested()) throw Interrupted(str("stopped while ", where, "; --resume continues"));
}

/// The codebooks of all sources, as one file.
struct Fit {
  std::vector<target::Codebooks> books;
  int64_t batches = 0, pools = 0;  ///< read and learnt from

  void save(const fs::path& path) const {
    io::Tensors tensors;
    for (size_t s = 0; s < books.size(); ++s)
      for (const auto& [name, tensor] : books[s].state()) tensors[str("source.", s, ".", name)] = tensor;
    io::save_safetensors(path, tensors, {{"batches", str(batches)}, {"pools", str(pools)}});
  }
  static Fit load(const fs::path& path, size_t sources) {
    const io::SafetensorsFile file(path);
    const auto tensors = file.tensors();
    Fit fit;
    for (size_t s = 0; s < sources; ++s) {
      std::map<std::string, Tensor> own;
      const std::string prefix = str("source.", s, ".");
      for (const auto& [name, tensor] : tensors)
        if (name.starts_with(prefix)) own[name.substr(prefix.size())] = tensor;
      if (own.empty())
        fail(path.string(), str("holds no codebook of source ", s), "fit it again with these settings");
      fit.books.push_back(target::Codebooks::from_state(own));
    }
    for (auto [key, value] :
         {std::pair<const char*, int64_t*>{"batches", &fit.batches}, {"pools", &fit.pools}})
      if (const auto found = file.metadata().find(key); found != file.metadata().end())
        *value = std::stoll(found->second);
    return fit;
  }
};

/// Frames of every source held until a pool is full.
class Pools {
 public:
  Pools(Fit& fit, const target::KMeansConfig& config, uint64_t seed)
      : fit_(fit), config_(config), seed_(seed), parts_(fit.books.size()) {}

  void add(const std::vector<std::vector<Tensor>>& features) {
    for (size_t s = 0; s < features.size(); ++s)
      for (const auto& row : features[s]) parts_[s].push_back(row);
    for (const auto& row : features.front()) frames_ += row.size(0);
  }
  int64_t frames() const { return frames_; }
  void learn() {
    for (size_t s = 0; s < parts_.size(); ++s) {
      fit_.books[s].fit(torch::cat(parts_[s]), config_, seed_ + s, fit_.pools);
      parts_[s].clear();
    }
    ++fit_.pools;
    frames_ = 0;
  }

 private:
  Fit& fit_;
  target::KMeansConfig config_;
  uint64_t seed_;
  std::vector<std::vector<Tensor>> parts_;
  int64_t frames_ = 0;
};

std::shared_ptr<data::Dataset> share_of(std::shared_ptr<data::Dataset> whole, double share, uint64_t seed) {
  const int64_t size = whole->size();
  const auto count = std::clamp<int64_t>(std::llround(share * static_cast<double>(size)), 1, size);
  auto order = Stream(seed, "targets/share").permutation(size);
  order.resize(static_cast<size_t>(count));
  return data::subset(std::move(whole), std::move(order));
}

/// Label files that grow line by line.
class LabelFiles {
 public:
  LabelFiles(std::string out, size_t sets) : out_(std::move(out)), text_(sets) {
    whole_ = std::numeric_limits<int64_t>::max();
    for (size_t j = 0; j < sets; ++j) whole_ = std::min(whole_, lines_in(part(j)));
    whole_ -= whole_ % kBatch;
    for (size_t j = 0; j < sets; ++j) cut(part(j), whole_);
  }
  int64_t lines() const { return whole_; }
  /// labels [frames, sets]; an empty tensor: an empty line.
  void add(const Tensor& labels) {
    for (size_t j = 0; j < text_.size(); ++j) {
      const auto column =
          labels.numel() > 0 ? labels.select(1, static_cast<int64_t>(j)).contiguous() : labels.flatten();
      for (int64_t t = 0; t < column.numel(); ++t)
        text_[j] += (t > 0 ? " " : "") + std::to_string(column.const_data_ptr<int64_t>()[t]);
      text_[j] += '\n';
    }
  }
  void flush() {
    for (size_t j = 0; j < text_.size(); ++j) {
      std::ofstream file(part(j), std::ios::app | std::ios::binary);
      if (!(file << text_[j]) || !file.flush())
        fail(part(j).string(), "can't be written", "free some space, then run it again");
      text_[j].clear();
    }
  }
  std::vector<std::string> finish() {
    flush();
    std::vector<std::string> out;
    for (size_t j = 0; j < text_.size(); ++j) {
      out.push_back(name(j));
      fs::rename(part(j), out.back());
    }
    return out;
  }
  std::string name(size_t set) const { return str(out_, "-", set, ".km"); }

 private:
  fs::path part(size_t set) const { return name(set) + ".part"; }
  static int64_t lines_in(const fs::path& path) {
    std::error_code error;
    if (!fs::exists(path, error)) return 0;
    const auto text = io::read_file(path);
    return std::count(text.begin(), text.end(), '\n');
  }
  static void cut(const fs::path& path, int64_t lines) {
    std::error_code error;
    if (!fs::exists(path, error)) return;
    const auto text = io::read_file(path);
    size_t end = 0;
    for (int64_t i = 0; i < lines; ++i) end = text.find('\n', end) + 1;
    io::write_atomically(path, std::string_view(text).substr(0, end));
  }

  std::string out_;
  std::vector<std::string> text_;
  int64_t whole_ = 0;
};

/// [frames, sets] of one record.
Tensor codes_of(const std::vector<target::Codebooks>& books, const std::vector<std::vector<Tensor>>& features,
                size_t row) {
  std::vector<Tensor> out;
  for (size_t s = 0; s < books.size(); ++s) out.push_back(books[s].encode(features[s][row]));
  return torch::cat(out, 1);
}

}  // namespace

FrameSource::FrameSource(target::TargetConfig config, data::AudioConfig audio, std::shared_ptr<Method> model,
                         int64_t workers)
    : config_(std::move(config)), audio_(std::move(audio)), model_(std::move(model)), workers_(workers) {
  LACUNA_ASSERT((config_.source == "layers") == (model_ != nullptr));
  if (model_) model_->eval();
}

int64_t FrameSource::count() const { return config_.source == "layers" ? std::ssize(config_.layers) : 1; }

double FrameSource::rate() const {
  if (!model_) return 100;
  const auto* speech = dynamic_cast<const SpeechTargets*>(model_.get());
  LACUNA_ASSERT(speech);
  return static_cast<double>(audio_.sample_rate) / static_cast<double>(speech->config().encoder.stride());
}

std::vector<std::vector<Tensor>> FrameSource::operator()(const Batch& batch) const {
  const torch::NoGradGuard no_grad;
  const int64_t B = batch.wave.size(0);
  std::vector<std::vector<Tensor>> out(static_cast<size_t>(count()),
                                       std::vector<Tensor>(static_cast<size_t>(B)));
  if (model_) {
    const auto frames = model_->frames(batch.to(model_->parameters().front().device()));
    for (size_t s = 0; s < config_.layers.size(); ++s) {
      const int64_t layer = config_.layers[s];
      if (layer < 0 || layer >= std::ssize(frames.layers))
        fail(str("target.layers ", layer), str("the model has layers 0 to ", frames.layers.size() - 1),
             "name layers it has");
      const auto host = frames.layers[static_cast<size_t>(layer)].cpu();
      for (int64_t b = 0; b < B; ++b)
        out[s][static_cast<size_t>(b)] = host[b].slice(0, 0, frames.length[b].item<int64_t>());
    }
    return out;
  }
  const auto kaldi = kaldi_of(config_, audio_);
  data::parallel(B, std::max<int64_t>(1, workers_), [&](int64_t b) {
    const torch::NoGradGuard inner;
    const auto wave = batch.wave[b].slice(0, 0, batch.wave_length[b].item<int64_t>());
    auto& row = out[0][static_cast<size_t>(b)];
    row = config_.source == "logmel" ? data::kaldi_fbank(wave, kaldi) : data::mfcc_with_deltas(wave, kaldi);
    if (config_.source == "random" && row.size(0) > 0) row = random_projection(row);
    if (config_.source == "random" && row.size(0) == 0) row = torch::zeros({0, kCodeWidth});
  });
  return out;
}

void fit_targets(const FrameSource& source, std::shared_ptr<data::Dataset> dataset,
                 const target::TargetConfig& config, const data::AudioConfig& audio, uint64_t seed,
                 int64_t workers, const fs::path& folder) {
  const auto done = folder / "codebooks.safetensors", state = folder / "fit.safetensors";
  if (fs::exists(done)) return;
  io::make_folder(folder);
  const auto sources = static_cast<size_t>(source.count());
  Fit fit;
  fit.books.resize(sources);
  if (config.source == "random") {
    fit.books = {random_codes(config.clusters)};
    fit.save(done);
    return;
  }
  if (fs::exists(state)) fit = Fit::load(state, sources);
  auto loader = whole_records(share_of(std::move(dataset), config.share, seed), audio, workers);
  const int64_t total = loader.batches_per_epoch();
  loader.seek({0, fit.batches});
  Pools pools(fit, config.kmeans(), seed);
  log::Progress progress("clusters");
  for (int64_t batch = fit.batches; batch < total; ++batch) {
    stop_if_asked("clusters are fitted");
    const auto records = loader.next();
    if (records.size() > 0) pools.add(source(records));
    if (pools.frames() >= config.pool_frames) {
      pools.learn();
      fit.batches = batch + 1;
      fit.save(state);
    }
    progress.update(batch + 1, total);
  }
  // What is left joins in when it is not a mere remainder, or all there is.
  if (fit.pools == 0 || pools.frames() >= config.clusters) pools.learn();
  fit.batches = total;
  fit.save(done);
  std::error_code error;
  fs::remove(state, error);
}

std::vector<std::string> assign_targets(const FrameSource& source, std::shared_ptr<data::Dataset> dataset,
                                        const data::AudioConfig& audio, int64_t workers,
                                        const fs::path& folder, const std::string& out) {
  const auto fit = Fit::load(folder / "codebooks.safetensors", static_cast<size_t>(source.count()));
  size_t sets = 0;
  for (const auto& books : fit.books) sets += books.books().size();
  LabelFiles files(out, sets);
  const int64_t size = dataset->size();
  int64_t next = files.lines();
  auto loader = whole_records(std::move(dataset), audio, workers);
  loader.seek({0, next / kBatch});
  log::Progress progress("labels");
  while (next < size) {
    stop_if_asked("labels are made");
    const int64_t end = std::min(next + kBatch, size);
    const auto batch = loader.next();
    const auto features = batch.size() > 0 ? source(batch) : std::vector<std::vector<Tensor>>{};
    size_t row = 0;
    for (int64_t record = next; record < end; ++record) {
      const bool there = row < batch.sample.size() && batch.sample[row] == record;
      files.add(there ? codes_of(fit.books, features, row) : torch::empty({0}, torch::kLong));
      if (there) ++row;
    }
    next = end;
    if (next % kLinesBetween == 0) files.flush();
    progress.update(next, size);
  }
  return files.finish();
}

LabelQuality label_quality(const Tensor& clusters, const Tensor& classes) {
  LabelQuality out;
  out.frames = clusters.numel();
  if (out.frames == 0) return out;
  const int64_t K = clusters.max().item<int64_t>() + 1, C = classes.max().item<int64_t>() + 1;
  const auto joint = torch::bincount(clusters * C + classes, {}, K * C).view({K, C}).to(torch::kDouble) /
                     static_cast<double>(out.frames);
  const auto cluster = joint.sum(1, true), klass = joint.sum(0, true);
  out.class_purity = std::get<0>(joint.max(1)).sum().item<double>();
  out.cluster_purity = std::get<0>(joint.max(0)).sum().item<double>();
  const auto information = torch::xlogy(joint, joint / (cluster * klass).clamp_min(1e-300)).sum();
  const double entropy = -torch::xlogy(klass, klass).sum().item<double>();
  out.pnmi = entropy > 0 ? information.item<double>() / entropy : 0;
  out.clusters_used = cluster.gt(0).sum().item<int64_t>();
  return out;
}

}  // namespace lacuna::train
