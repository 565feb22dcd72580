#pragma once
// Generators: what a trained network makes up. Registered by the name of its method, in its own file.

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "lacuna/eval/protocol.h"

namespace lacuna::eval {

/// What was generated for N records.
struct Generated {
  std::map<std::string, Tensor> tensors;     ///< rows by record: what samples.safetensors holds
  std::vector<Json> items;                   ///< a line for each record
  std::map<std::string, std::string> files;  ///< pictures by name below the folder, encoded
};

struct Generator {
  static const char* noun() { return "generator"; }
  std::string summary;
  /// `dataset`: the records to begin with; `draws` has a row for each of them.
  std::function<Generated(const Model& model, std::shared_ptr<data::Dataset> dataset,
                          const EvalConfig& config)>
      generate;
};

struct GenerateRequest {
  std::string weights, data;          ///< data: URI; empty: what the weights were trained on
  std::vector<std::string> settings;  ///< generate.*, eval.*, those of load_model
  io::fs::path out;
  bool best = false;
};
/// Writes `out`, a new folder, whole or not at all: samples.safetensors, samples.json (what, of what, with
/// which settings, and a line for each record) and pictures. Returns samples.json. Error: a method that
/// generates nothing, a folder that is there already.
Json generate(const GenerateRequest& request);

}  // namespace lacuna::eval
