#pragma once
// A run of the program that takes seconds: MAE on drawn pictures, 60 steps.

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/support/program.h"

namespace lacuna::testing {

inline constexpr const char* kData = "synthetic:scenes?count=240&size=32";
inline constexpr int kSteps = 60;

inline std::vector<std::string> pretrain(const fs::path& run, std::vector<std::string> more = {},
                                         const std::string& data = kData) {
  std::vector<std::string> arguments = {"pretrain", "mae", "--out", run.string(), "--data", data};
  for (const char* setting :
       {"encoder.arch=vit", "encoder.img_size=32", "encoder.patch_size=8", "encoder.embed_dim=32",
        "encoder.depth=2", "encoder.num_heads=2", "decoder.embed_dim=16", "decoder.depth=1",
        "decoder.num_heads=2", "train.batch_size=16", "train.base_lr=1e-2", "train.log_every=1",
        "train.checkpoint_every=5", "health.samples=32", "health.every=20", "train.steps=60"})
    arguments.insert(arguments.end(), {"--set", setting});
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

inline std::vector<std::string> resume(const fs::path& run, std::vector<std::string> more = {}) {
  std::vector<std::string> arguments = {"pretrain", "--out", run.string(), "--resume"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

// What must not depend on interruptions: everything but clocks.
inline std::vector<nlohmann::json> losses(const fs::path& run) {
  std::vector<nlohmann::json> out;
  std::ifstream file(run / "metrics.jsonl");
  for (std::string line; std::getline(file, line);) {
    auto json = nlohmann::json::parse(line);
    for (const char* clock : {"items_per_s", "data_wait_s", "data_wait", "health.data_wait"})
      json.erase(clock);
    out.push_back(std::move(json));
  }
  return out;
}

inline size_t losses_written(const fs::path& run) {
  const auto text = slurp(run / "metrics.jsonl");
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

}  // namespace lacuna::testing
