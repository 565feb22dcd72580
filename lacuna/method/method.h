#pragma once
// A method is a loss over a batch (architecture.md, idea 2). The loop, evaluation and pictures know nothing
// else of it.

#include <torch/nn/module.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/core/draws.h"
#include "lacuna/core/registry.h"
#include "lacuna/data/batch.h"

namespace lacuna {

using data::Batch;
using torch::Tensor;

/// What one forward pass of training returns.
struct Loss {
  Tensor total;                         ///< scalar, differentiable
  std::map<std::string, Tensor> parts;  ///< scalars that total is made of, logged as loss.<part>
  std::map<std::string, double> stats;  ///< further numbers worth logging
};

/// Where training stands, after the step just taken.
struct Progress {
  int64_t step = 0, steps = 0;
  double epoch = 0, epochs = 0;
};

/// What a method's picture shows; undefined tensors where a method has no such thing.
struct Preview {
  Tensor image;      ///< [B, C, H, W] the input, normalised as the method saw it
  Tensor hidden;     ///< [B, h, w] bool at patch resolution, true = hidden
  Tensor predicted;  ///< [B, C, H, W] the prediction in the input's units
  /// True when the target is normalised patch by patch: `predicted` was given each true patch's mean and
  /// deviation.
  bool per_patch_units = false;
};

/// Which features are read out of an encoder.
struct FeatureOptions {
  std::string pool =
      "default";  ///< default (the method's own) | token (class token) | avg (mean of patch tokens)
};

/// What a method eats: the loader resizes and converts pictures to this.
struct InputSpec {
  int64_t channels = 3;
  Size2 size;
};

class Method : public torch::nn::Module {
 public:
  virtual Loss forward(const Batch& batch, Draws& draws) = 0;
  /// Teachers, queues and curricula move here, once for each optimiser step.
  virtual void after_step(const Progress& /*progress*/) {}
  /// [B, D] float32, of the whole picture: never masked, no randomness, no gradient.
  virtual Tensor features(const Batch& batch, const FeatureOptions& options) = 0;
  virtual Preview preview(const Batch& batch, Draws& draws) = 0;
  virtual InputSpec input() const = 0;
  /// Whether weight decay applies; the default is that of MAE and most followers: not to 1-D tensors and
  /// biases.
  virtual bool decays(const std::string& name, const Tensor& parameter) const;
  /// Parameters and buffers as a checkpoint holds them, by official name. Shares memory with the module.
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
  double smallest_batch = 1;  ///< below this the loss itself suffers (contrastive losses); 1 for pixel losses
  /// In some step some trainable parameter gets no gradient. With several processes the loop then searches
  /// each step's graph for what it uses.
  bool unused_parameters = false;
};

/// Makes the children, parameters and buffers of `part` members of `whole` under their own names, so that
/// official checkpoint names need no prefix. `whole` must hold `part` alive.
void adopt(torch::nn::Module& whole, torch::nn::Module& part);

/// Copies tensors by name into a module. Strict: any missing, unexpected or misshapen name is an Error with
/// counts, the first names with both shapes and the likely fix. With `partial`, returns what was not loaded
/// instead.
std::vector<std::string> load_weights(Method& method, const std::map<std::string, Tensor>& weights,
                                      const std::string& origin, bool partial = false);

}  // namespace lacuna
