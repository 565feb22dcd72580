#pragma once
// Explainers: which parts of a picture a classifier's answer rests on. One that explains a network after
// training (layer masking's LIME, saliency) and one that is its own explanation (a selector's mask) look
// alike from here.

#include <functional>
#include <string>
#include <vector>

#include "lacuna/core/draws.h"
#include "lacuna/eval/removal.h"

namespace lacuna::eval {

/// B pictures of H x W.
struct Explanation {
  Tensor attribution;    ///< [B, H, W] float32: how much a pixel speaks for `target`; negative: against it
  Tensor target;         ///< [B] int64: the class that is explained
  Tensor probability;    ///< [B] float32: the classifier's, of that class
  Tensor segments = {};  ///< [B, H, W] int64; undefined for explainers of pixels
  /// Further rows worth keeping, [B, ...] each: "score" of a local model, ...
  std::map<std::string, Tensor> more = {};
};

/// Registered in its own file.
struct Explainer {
  static const char* noun() { return "explainer"; }
  std::string title, paper, code, summary;  ///< as MethodInfo's
  std::vector<std::string> parts;
  /// `draws`: one row for each picture of the batch.
  std::function<Explanation(const Model& model, const Batch& batch, const ExplainConfig& config,
                            Draws& draws)>
      explain;
};

/// As train::describe, with the keys `explain.*`: what `lacuna info` prints.
Json describe(const std::string& name, const Explainer& explainer);

struct ExplainRequest {
  std::string explainer, weights, data;  ///< data: URI; empty: what the weights were trained on
  std::vector<std::string> settings;     ///< explain.*, eval.*, those of load_model
  io::fs::path out;
  bool best = false;
};
/// Writes `out`, a new folder, whole or not at all: attributions.safetensors (attribution [N, H, W], target,
/// label, predicted, probability [N], segments where there are any), attributions.json (what, of what, with
/// which settings, and a line for each picture) and heatmaps/NNNNN.png (picture, heat map over it). Returns
/// attributions.json. Error: unknown explainer, weights of no classifier, no picture, a folder that is there
/// already.
Json explain(const ExplainRequest& request);

/// [H, W, 3] uint8: the picture in grey, red where `attribution` [H, W] speaks for the class, blue where
/// against it. image [3 or more, H, W] in [0, 1].
Tensor heat_map(const Tensor& image, const Tensor& attribution);

}  // namespace lacuna::eval
