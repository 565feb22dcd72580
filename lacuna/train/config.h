#pragma once
// The config of a run: method, data, augmentation and training as one document (a run's config.toml).

#include <memory>
#include <string>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/data/audio.h"
#include "lacuna/data/captions.h"
#include "lacuna/data/loader.h"
#include "lacuna/data/motion.h"
#include "lacuna/data/points.h"
#include "lacuna/data/text_config.h"
#include "lacuna/data/transform.h"
#include "lacuna/data/video.h"
#include "lacuna/method/method.h"

namespace lacuna::train {

class Modality;

/// Keys `data.*` of pictures.
struct PictureConfig {
  std::vector<double> mean, std;  ///< empty: measured on the data
  int64_t max_pixels = int64_t{1} << 28;
  void fields(Fields& f);
};

/// Keys `data.*` of every modality.
struct DataConfig : PictureConfig {
  std::string uri;
  double label_share = 1;       ///< of the labels that may be learnt from
  int64_t shots = 0;            ///< records of each class that may be learnt from; 0: all
  std::string classes = "all";  ///< all | base (the first half) | new (the second): data::class_half
  int64_t max_bad = 10;
  void fields(Fields& f);
};

/// Keys `health.*`.
struct HealthConfig {
  int64_t every = 0;      ///< steps between health checks; 0: ten over the run
  int64_t samples = 512;  ///< pictures that rank, spread and k-NN are measured on; half as many are queries
  std::string probe;      ///< labelled data URI for k-NN; empty: the training data where they are labelled
  int64_t preview_every = 0;  ///< steps between preview panels; 0: six over the run
  int64_t preview_images = 6;
  int64_t max_skipped =
      5;              ///< steps in a row with a loss that is not finite, or a spike, before the run ends
  double spike = 50;  ///< a gradient norm this many times its running median is a spike; 0: off
  void fields(Fields& f);
};

/// Keys `train.*` (contracts.md lists those that scripts rely on).
struct TrainConfig {
  double epochs = 400;
  int64_t steps = -1;       ///< overrides epochs when >= 0; 0 writes the untrained network
  int64_t batch_size = 64;  ///< for one process and one micro-step
  int64_t accum = 1;
  std::string optimizer = "adamw";
  double lr = 0;  ///< 0: base_lr * effective batch / lr_batch
  double base_lr = 1.5e-4;
  int64_t lr_batch = 256;
  double min_lr = 0, base_min_lr = 0;        ///< min_lr 0: base_min_lr, scaled as base_lr is
  double warmup_lr = 0, base_warmup_lr = 0;  ///< the same for the rate that warm-up starts from
  double warmup_epochs = 40;
  double hold_epochs = 0, decay_epochs = 0;  ///< tri_stage
  std::string schedule = "cosine";
  double schedule_scale = 1;       ///< vjepa_cosine, weight_decay_end: planned length over the run's own
  std::vector<double> milestones;  ///< multistep: epochs
  double gamma = 0.1;              ///< multistep
  double layer_decay = 1;          ///< each layer's rate over that of the next one
  double weight_decay = 0.05;
  double weight_decay_end = -1;  ///< below 0: weight_decay throughout
  std::vector<double> betas{0.9, 0.999};
  double eps = 1e-8;            ///< of AdamW
  double momentum = 0.9;        ///< of LARS and SGD
  double clip_grad = 0;         ///< global norm; 0: off
  std::string clip_by = "all";  ///< all | part (Method::part_of)
  bool clip_after_warmup = false;
  std::string precision = "fp32";   ///< fp32 | bf16 | fp16 (autocast; weights and optimiser stay fp32)
  double loss_scale = 65536;        ///< of fp16, at the start
  bool grad_checkpointing = false;  ///< nn::ActivationCheckpointing
  double ema_decay = 0;             ///< of the weights' moving average (nn::Ema); 0: none is kept
  bool ema_warmup = false;          ///< nn::ema_warmup
  int64_t ema_start = 0;            ///< steps in which the average is a plain copy
  int64_t seed = 0;
  int64_t workers = 2;
  int64_t prefetch = 4;
  int64_t log_every = 10;
  int64_t checkpoint_every = 0;    ///< in steps; 0: once for each epoch, at most ten over the run
  int64_t keep = 2;                ///< last checkpoints kept (the best by probe is kept besides)
  double checkpoint_minutes = 10;  ///< a checkpoint besides when the last is this old; 0: off
  double timeout_s = 600;          ///< how long a process of several waits for another
  std::string device = "auto";     ///< auto | cpu | cuda
  std::string init;                ///< weights to start from; empty: drawn from the seed
  bool init_partial = false;       ///< load what fits of them
  void fields(Fields& f);
};

/// All of a run's keys and the structs behind them.
class RunConfig {
 public:
  /// The method's own defaults applied; nothing chosen yet.
  explicit RunConfig(const std::string& method);
  RunConfig(const RunConfig&) = delete;
  RunConfig& operator=(const RunConfig&) = delete;

  /// A recipe or a run's config.toml; `method = "..."` at its top chooses the method.
  static std::unique_ptr<RunConfig> from_toml(const Json& document, const std::string& origin);

  /// Derived keys filled, impossible combinations refused. Call after the last set.
  void resolve();
  std::string to_toml() const;
  const MethodInfo& info() const;
  const Modality& modality() const;             ///< of the method's input
  std::shared_ptr<Method> make_method() const;  ///< initial weights drawn from train.seed

  std::string method;
  std::unique_ptr<MethodConfig> method_config;
  DataConfig data;
  data::AugmentConfig augment;  ///< of pictures
  data::CaptionConfig caption;  ///< of pictures with texts
  data::AudioConfig audio;      ///< of sound
  data::VideoConfig video;      ///< of films
  data::MotionConfig motion;    ///< of motions
  data::PointsConfig points;    ///< of point clouds
  data::TextConfig text;        ///< of texts
  TrainConfig train;
  HealthConfig health;
  ConfigTable table;
};

}  // namespace lacuna::train
