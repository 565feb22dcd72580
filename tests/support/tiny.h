#pragma once
// Small runs of any registered method, for tests.

#include <torch/types.h>

#include <memory>
#include <string>

#include "lacuna/train/config.h"

namespace lacuna::testing {

/// Sets a key where the method has it (not every method has a decoder).
inline void set_if_known(train::RunConfig& config, const std::string& key, const Json& value) {
  if (config.table.has(key)) config.table.set(key, value, "test");
}

/// A network of a few thousand weights for pictures of `image` pixels cut into `patch`.
inline std::unique_ptr<train::RunConfig> tiny_config(const std::string& method, Size2 image, Size2 patch,
                                                     int64_t channels) {
  auto config = std::make_unique<train::RunConfig>(method);
  for (const auto& setting : config->info().tiny) config->table.set_assignment(setting, "test");
  set_if_known(*config, "mask.mask_patch_size", patch.h);
  set_if_known(*config, "encoder.img_size", {image.h, image.w});
  set_if_known(*config, "encoder.patch_size", {patch.h, patch.w});
  set_if_known(*config, "encoder.in_chans", channels);
  for (const std::string part : {"encoder", "decoder"}) {
    set_if_known(*config, part + ".embed_dim", 16);
    set_if_known(*config, part + ".depth", 2);
    set_if_known(*config, part + ".num_heads", 2);
  }
  config->table.set("train.seed", 7, "test");
  config->resolve();
  return config;
}

/// A batch of `samples` pictures of N(0, 1) pixels.
inline Batch random_batch(const Method& method, int64_t samples, uint64_t seed = 3) {
  const auto input = method.input();
  Batch batch;
  batch.image = SeededDraws(seed).normal("picture", {samples, input.channels, input.size.h, input.size.w});
  batch.label = torch::arange(samples).remainder(3);
  for (int64_t i = 0; i < samples; ++i) {
    batch.sample.push_back(i);
    batch.key.push_back("picture " + std::to_string(i));
  }
  return batch;
}

}  // namespace lacuna::testing
