#pragma once
// A method is a loss over a batch (architecture.md, idea 2). The loop, evaluation and pictures know nothing
// else of it.

#include <torch/nn/module.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/core/draws.h"
#include "lacuna/core/registry.h"
#include "lacuna/data/batch.h"
#include "lacuna/nn/ema.h"

namespace lacuna {

using data::Batch;
using torch::Tensor;

/// What one forward pass of training returns.
struct Loss {
  Tensor total;                         ///< scalar, differentiable
  std::map<std::string, Tensor> parts;  ///< scalars that total is made of, logged as `loss.NAME`
  std::map<std::string, double> stats;  ///< further numbers worth logging
  /// How many things `total` is the mean of (hidden frames), where that differs from batch to batch:
  /// gradients of micro-batches and processes are then averaged by it. 0: all batches count alike.
  double weight = 0;
};

/// Where training stands: `step` steps of `steps` are taken. The default is the end of a run, which is what
/// a method sees outside of training.
struct Progress {
  int64_t step = 1, steps = 1;
  double epoch = 1, epochs = 1;
};

/// What a method's preview shows; undefined tensors where a method has no such thing. The modality of the
/// method's input draws it (train/modality.h).
struct Preview {
  Tensor image;      ///< [B, C, H, W] the input, normalised as the method saw it
  Tensor hidden;     ///< [B, h, w] bool at patch resolution, true = hidden
  Tensor predicted;  ///< [B, C, H, W] the prediction in the input's units
  /// True when the target is normalised patch by patch: `predicted` was given each true patch's mean and
  /// deviation.
  bool per_patch_units = false;
  Tensor wave;               ///< [B, N] sound, as the method heard it
  Tensor wave_length;        ///< [B] int64: samples that are sound
  Tensor hidden_frames;      ///< [B, T] bool, true = hidden
  Tensor frame_length;       ///< [B] int64: frames that are sound
  Tensor true_labels;        ///< [B, T] int64: what is to be predicted; -1 where that is not known
  Tensor predicted_labels;   ///< [B, T] int64
  Tensor motion;             ///< [B, T, J, 3]
  int64_t observed = 0;      ///< frames of `motion` that were seen
  Tensor futures;            ///< [B, K, T, J, 3]: predicted motions, the observed frames included
  Tensor heat;               ///< [B, h, w] a number for each patch, drawn as colours over the picture
  std::string heat_title;    ///< what it means; lower-case letters, digits, hyphens and spaces
  Tensor video;              ///< [B, C, T, H, W] as the method saw it
  Tensor hidden_cubes;       ///< [B, t, h, w] bool, true = hidden
  Tensor predicted_video;    ///< [B, C, T, H, W]; undefined where no pixels are predicted
  Tensor cube_error;         ///< [B, t, h, w]: of the prediction of each hidden cube; 0 elsewhere
  Tensor points;             ///< [B, N, F] as the method saw them
  Tensor point_count;        ///< [B] int64: points of each cloud
  Tensor hidden_points;      ///< [B, N] bool, true = hidden
  Tensor predicted_points;   ///< [B, M, 3]
  Tensor predicted_count;    ///< [B] int64: of predicted_points
  Tensor predicted_normals;  ///< [B, M, 3] unit vectors; undefined where none are predicted
  Tensor tokens;             ///< [B, U] int64: a text as it was; -1 fills
  Tensor hidden_tokens;      ///< [B, U] bool, true = hidden
  Tensor predicted_tokens;   ///< [B, U] int64: the likeliest at each place; -1 where nothing is predicted
  Tensor similarity;         ///< [B, B]: of each picture (rows) and each text of the batch
  std::string hidden_note;   ///< how `hidden` was chosen; the same characters
  /// For methods that predict no pixels: 1 - error(prediction) / error(the targets' mean), of what is hidden.
  std::optional<double> explained;
};

/// Which features are read out of an encoder.
struct FeatureOptions {
  std::string pool =
      "default";  ///< default (the method's own) | token (class token) | avg (mean of patch tokens)
};

/// What a method eats: the loader converts records to this.
struct InputSpec {
  int64_t channels = 3;  ///< of pictures
  Size2 size;            ///< of pictures
  /// image (batch.image) | audio (batch.wave) | video (batch.video) | motion (batch.motion) | points
  /// (batch.points) | text (batch.tokens) | captioned (batch.image and batch.tokens): `Modality`,
  /// train/modality.h
  std::string modality = "image";
  int64_t frames = 1;  ///< of a clip, of a window of motion
  int64_t tokens = 0;  ///< of a text; of points, the most of a cloud where there is a limit, else 0
};

/// Features of every frame of a signal in time.
struct Frames {
  std::vector<Tensor> layers;  ///< [B, T, D] float32: the input of the first block, then each block's output
  Tensor length;               ///< [B] int64: frames that are signal, 1 .. T
};

/// A paper: parameters under the official names, and what the loop, evaluation and pictures ask of them.
class Method : public torch::nn::Module {
 public:
  /// The training loss of one batch; everything random comes from `draws`.
  virtual Loss forward(const Batch& batch, Draws& draws) = 0;
  /// What only training needs and may be missing (the file of a teacher) is opened here, before the run's
  /// folder is made.
  virtual void prepare_training() {}
  /// What depends on where training stands (curricula) is set here, before the step is taken. A function of
  /// `progress` alone, so that a resumed run goes on alike.
  virtual void before_step(const Progress& /*progress*/) {}
  /// Teachers and queues move here, once for each optimiser step that was applied.
  virtual void after_step(const Progress& /*progress*/) {}
  /// [B, D] float32, of the whole picture: never masked, no randomness, no gradient.
  virtual Tensor features(const Batch& batch, const FeatureOptions& options) = 0;
  /// What was hidden and what is predicted, without gradient.
  virtual Preview preview(const Batch& batch, Draws& draws) = 0;
  virtual InputSpec input() const = 0;
  /// Frame by frame, of the whole signal: never masked, no randomness, no gradient. Error for a method whose
  /// input has no time.
  virtual Frames frames(const Batch& batch);
  /// [B, N, D] float32: the encoder's tokens of the whole input, behind its last norm; as features() never
  /// masked. What attentive probes read. Error for a method that has none.
  virtual Tensor tokens(const Batch& batch);
  /// The part of the network a parameter belongs to, for train.clip_by = part.
  virtual std::string part_of(const std::string& name) const { return name.substr(0, name.find('.')); }
  /// Whether weight decay applies; the default is that of MAE and most followers: not to 1-D tensors and
  /// biases.
  virtual bool decays(const std::string& name, const Tensor& parameter) const;
  /// Layer-wise learning rates: how many layers there are, and which one a parameter belongs to, 0 = nearest
  /// to the input. One layer unless a method says otherwise.
  virtual int64_t layers() const { return 1; }
  virtual int64_t layer_of(const std::string& /*name*/) const { return 0; }
  /// Weights of another network, made to fit this one: `source` holds its "encoder" keys. As they are, unless
  /// a method can do better (fine-tuning resizes positions and brings its own head).
  virtual std::map<std::string, Tensor> adapt(std::map<std::string, Tensor> weights,
                                              const Json& /*source*/) const {
    return weights;
  }
  /// The method's teacher, when it is a moving average of the method's own weights and named like them: a
  /// module registered as "ema". Checkpoints keep it in a file of its own. Null: there is none.
  virtual nn::Ema* ema() { return nullptr; }
  /// Parameters and buffers as a checkpoint holds them, by official name, without those of "ema". Shares
  /// memory with the module.
  std::map<std::string, Tensor> weights() const;
};

/// A method's config: its struct plus what depends on which keys the user gave.
class MethodConfig {
 public:
  virtual ~MethodConfig() = default;
  virtual void fields(Fields& f) = 0;
  /// Fills keys that follow from others (encoder.arch = vit_small) and refuses impossible combinations.
  virtual void resolve(const ConfigTable& /*table*/) {}
};

/// Weights under other libraries' names, for methods whose networks train/names.h does not know. Each is null
/// where there is no such thing.
struct WeightNames {
  using Tensors = std::map<std::string, Tensor>;
  /// Renames to official names; false, and nothing changed, when these are not the method's weights.
  std::function<bool(Tensors&)> to_official;
  /// Under the names of `format` ("hf", ...); Error when there is no such model there.
  std::function<Tensors(const Tensors&, const std::string& format)> from_official;
  /// The config that official tensors tell (nested); null when they are not the method's.
  std::function<Json(const Tensors&)> infer;
  /// The JSON files that `format` wants beside the tensors (config.json, ...), by name.
  std::function<std::map<std::string, Json>(const ConfigTable&, const std::string& format)> describe = {};
};

/// What is registered for a method, in its own file.
struct MethodInfo {
  static const char* noun() { return "method"; }
  std::string title;               ///< "Masked Autoencoders Are Scalable Vision Learners"
  std::string paper;               ///< "He et al., CVPR 2022, arXiv 2111.06377"
  std::string code;                ///< official repository, commit, licence
  std::string summary;             ///< two or three sentences
  std::vector<std::string> parts;  ///< "masker: random, 75 %", ...
  std::vector<std::string>
      defaults;  ///< "train.base_lr=1.5e-4": the paper's settings of keys outside the method
  std::function<std::unique_ptr<MethodConfig>()> make_config;
  /// Builds the module; initial weights are drawn by parameter name.
  std::function<std::shared_ptr<Method>(const MethodConfig&, Draws& draws)> make;
  std::vector<std::string> finetune = {};  ///< "train.layer_decay=0.65": the paper's settings of fine-tuning
  std::vector<std::string> tiny = {};      ///< what makes the method's smallest network: tests and smoke runs
  double smallest_batch = 1;  ///< below this the loss itself suffers (contrastive losses); 1 for pixel losses
  WeightNames names = {};
  std::string modality = "image";  ///< InputSpec::modality of its methods: whose keys its config has
  /// In some step some trainable parameter gets no gradient. With several processes the loop then searches
  /// each step's graph for what it uses.
  bool unused_parameters = false;
};

/// nn::load_weights into a method (but for its "ema").
std::vector<std::string> load_weights(Method& method, const nn::NamedTensors& weights,
                                      const std::string& origin, bool partial = false);

}  // namespace lacuna
