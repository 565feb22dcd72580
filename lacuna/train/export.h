#pragma once
// Weights for other libraries, with the config files that those load them by.

#include <functional>
#include <string>

#include "lacuna/train/infer.h"

namespace lacuna::train {

/// For methods whose official files are not their tensors as they are (packed bits). Registered by the
/// method's name.
struct OfficialForm {
  static const char* noun() { return "official form of weights"; }
  std::function<io::Tensors(const io::Tensors& tensors, const RunConfig& config)> tensors;
};

/// Writes FOLDER, whole or not at all:
///   model.safetensors    every tensor under the names of `format` (official | timm | hf)
///   encoder.safetensors  without decoder, mask token and, but for hf's and timm's classifiers, nothing else
///   left out config.json          hf: what from_pretrained reads; timm: model and arguments of its
///   constructor preprocessor_config.json  hf: size, mean and std of the input
/// Error when the format has no such model (relative positions in transformers' ViT, ...), saying which part.
void export_weights(const Weights& weights, const RunConfig& config, const std::string& format,
                    const io::fs::path& folder);

}  // namespace lacuna::train
