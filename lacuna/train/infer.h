#pragma once
// Weights that do not say what they are: the config read off names and shapes.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lacuna/train/checkpoint.h"
#include "lacuna/train/config.h"

namespace lacuna::train {

/// find_weights, under official names.
Weights open_weights(const io::fs::path& run_or_file, WeightsChoice choice = {});

/// The config that weights carry, or, where they carry none, one read off their tensors (official names): a
/// plain ViT (method mae, or hpm with its loss predictor), a Swin or a BEiT-style ViT (method simmim), any of
/// them with a head (method supervised). `settings` ("encoder.num_heads=3") win over both. Error naming the
/// key to give when something can't be told.
std::unique_ptr<RunConfig> config_of(const Weights& weights, const std::vector<std::string>& settings = {});

/// For methods whose files do not hold everything (masks without what they are masks of): adds what is
/// missing, before Method::adapt. Registered by the method's name.
struct Completion {
  static const char* noun() { return "completion of weights"; }
  std::function<void(io::Tensors& tensors, const RunConfig& source, const Method& method)> fill;
};

/// Copies weights that came with `source` into a method, which may adapt them (Method::adapt). Strict, but
/// for buffers that follow from the config and, with `without_decoder`, for a decoder that the weights lack
/// as a whole. With `partial`, returns what was not loaded instead.
std::vector<std::string> load_into(Method& method, const Weights& weights, const RunConfig& source,
                                   bool partial = false, bool without_decoder = false);

}  // namespace lacuna::train
