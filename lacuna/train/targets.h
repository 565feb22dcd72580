#pragma once
// The target factory: frame labels made from sound or from a model's layers (`lacuna targets`).

#include <memory>
#include <string>
#include <vector>

#include "lacuna/data/audio.h"
#include "lacuna/method/method.h"
#include "lacuna/target/factory.h"

namespace lacuna::train {

/// What is clustered: frames of each record, from one source (MFCC, log-mel, random) or several (layers).
class FrameSource {
 public:
  /// `model`: of source "layers", else null; its batches are as `audio` says.
  FrameSource(target::TargetConfig config, data::AudioConfig audio, std::shared_ptr<Method> model,
              int64_t workers);
  int64_t count() const;  ///< sources: layers, or 1
  double rate() const;    ///< labels a second, as audio.label_rate wants it
  /// [source][row] -> [frames, D] float32 on the host.
  std::vector<std::vector<Tensor>> operator()(const Batch& batch) const;

 private:
  target::TargetConfig config_;
  data::AudioConfig audio_;
  std::shared_ptr<Method> model_;
  int64_t workers_;
};

/// Fits codebooks on `target.share` of the records, streamed in pools of `target.pool_frames`. State is kept
/// in `folder` after each pool, so that a stopped fit goes on; `folder`/codebooks.safetensors at its end.
/// Does nothing when that is there. Throws Interrupted after a signal.
void fit_targets(const FrameSource& source, std::shared_ptr<data::Dataset> dataset,
                 const target::TargetConfig& config, const data::AudioConfig& audio, uint64_t seed,
                 int64_t workers, const io::fs::path& folder);

/// Labels every record by `folder`/codebooks.safetensors: a file of lines for each label set,
/// `out`-SET.km, in the order of the records (a broken record gets an empty line). A stopped run goes on
/// behind its last whole line. Returns the files.
std::vector<std::string> assign_targets(const FrameSource& source, std::shared_ptr<data::Dataset> dataset,
                                        const data::AudioConfig& audio, int64_t workers,
                                        const io::fs::path& folder, const std::string& out);

/// Labels of each of `files` against the class of each record (frame by frame): purity of clusters and of
/// classes, mutual information over the entropy of the classes (PNMI; HuBERT, measure_teacher_quality.py).
struct LabelQuality {
  double class_purity = 0;    ///< sum over clusters of their most frequent class's share
  double cluster_purity = 0;  ///< sum over classes of their most frequent cluster's share
  double pnmi = 0;
  int64_t frames = 0, clusters_used = 0;
};
LabelQuality label_quality(const Tensor& clusters, const Tensor& classes);

}  // namespace lacuna::train
