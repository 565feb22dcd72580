#pragma once
// Golden cases: official code's inputs, weights and outputs, replayed here (contracts.md, "Golden cases").

#include <functional>
#include <string>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/core/registry.h"
#include "lacuna/io/safetensors.h"

namespace torch::nn {
class Module;
}

namespace lacuna {

class MethodConfig;

/// One case as it lies on disk.
struct GoldenCase {
  std::string method, kind;
  Json config;  ///< [config], nested, in the card's key names
  double rtol = 1e-4, atol = 1e-5;
  io::Tensors weights, inputs, outputs;

  static GoldenCase read(const io::fs::path& folder);
  /// A tensor of `inputs`; Error when the case does not hold it.
  const at::Tensor& input(const std::string& name) const;
};

/// Replays a kind of case and returns what it computed, by the names of the case's outputs. Registered as
/// "method/kind", or "*/kind" for a job that is the same for every method.
struct GoldenKind {
  static const char* noun() { return "golden case kind"; }
  std::function<io::Tensors(const GoldenCase&)> run;
};

/// One output compared: the largest differences, absolute and relative to the wanted value.
struct OutputCheck {
  std::string name;
  double max_abs = 0, max_rel = 0;
  bool pass = false;
  std::string problem;  ///< "not produced", "shape [2, 3] for [3, 2]", "" when compared
};

/// One case: passes when every output does.
struct CaseResult {
  std::string name;  ///< method/case folder
  bool pass = false;
  std::vector<OutputCheck> outputs;
  std::string to_line() const;  ///< "PASS mae/pretrain  worst=loss err=1.2e-07 (24 outputs)"
  Json to_json() const;
};

/// Runs one case and compares every tensor of its outputs.
CaseResult verify_case(const io::fs::path& folder);

/// |a-b| <= atol + rtol*|b| for every element; for names starting with "grad." atol is scaled by min(1,
/// 10*rms(b)).
OutputCheck compare_output(const std::string& name, const at::Tensor& got, const at::Tensor& wanted,
                           double rtol, double atol);

/// `config` with keys renamed by `renames` (dotted card key -> dotted program key; "" drops the key).
Json rename_keys(const Json& config, const std::vector<std::pair<std::string, std::string>>& renames);

/// `config`, whose fields are registered by a new table, with a case's keys as ours (`document`:
/// rename_keys).
ConfigTable table_of(MethodConfig& config, const Json& document);

/// Copies of the gradients that parameters have, as "grad.NAME".
void add_gradients(const torch::nn::Module& module, io::Tensors& out);

}  // namespace lacuna
