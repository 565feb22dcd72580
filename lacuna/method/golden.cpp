#include "lacuna/method/golden.h"

#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/method/method.h"

namespace lacuna {

namespace {

const GoldenKind& find_kind(const std::string& method, const std::string& kind) {
  const auto& registry = Registry<GoldenKind>::instance();
  if (const auto* own = registry.find(method + "/" + kind)) return *own;
  if (const auto* shared = registry.find("*/" + kind)) return *shared;
  return registry.get(method + "/" + kind);
}

std::string text_key(const Json& document, const char* key, const io::fs::path& path) {
  if (!document.contains(key) || !document[key].is_string())
    fail(path.string(), str("has no string '", key, "'"), "write the case as contracts.md describes");
  return document[key].get<std::string>();
}

double number_key(const Json& document, const char* key, double fallback) {
  const auto found = document.find(key);
  return found != document.end() && found->is_number() ? found->get<double>() : fallback;
}

double root_mean_square(const at::Tensor& tensor) {
  return tensor.numel() == 0 ? 0.0 : std::sqrt(tensor.square().mean().item<double>());
}

}  // namespace

GoldenCase GoldenCase::read(const io::fs::path& folder) {
  const auto toml = folder / "case.toml";
  const Json document = read_toml(toml.string());
  GoldenCase out;
  out.method = text_key(document, "method", toml);
  out.kind = text_key(document, "kind", toml);
  const Json tolerance = document.value("tolerance", Json::object());
  out.rtol = number_key(tolerance, "rtol", out.rtol);
  out.atol = number_key(tolerance, "atol", out.atol);
  out.config = document.value("config", Json::object());
  if (io::fs::exists(folder / "weights.safetensors"))
    out.weights = io::load_safetensors(folder / "weights.safetensors");
  out.inputs = io::load_safetensors(folder / "inputs.safetensors");
  out.outputs = io::load_safetensors(folder / "outputs.safetensors");
  return out;
}

const at::Tensor& GoldenCase::input(const std::string& name) const {
  const auto found = inputs.find(name);
  if (found == inputs.end())
    fail("inputs.safetensors", "has no tensor '" + name + "'", "record it with the case");
  return found->second;
}

OutputCheck compare_output(const std::string& name, const at::Tensor& got, const at::Tensor& wanted,
                           double rtol, double atol) {
  OutputCheck check{.name = name};
  if (got.sizes() != wanted.sizes()) {
    check.problem = str("shape ", got.sizes(), " for ", wanted.sizes());
    return check;
  }
  const auto a = got.detach().to(at::kCPU, at::kDouble), b = wanted.to(at::kCPU, at::kDouble);
  if (name.starts_with("grad.")) atol *= std::min(1.0, 10 * root_mean_square(b));
  if (b.numel() == 0) {
    check.pass = true;
    return check;
  }
  // Equal infinities and NaNs agree; any other non-finite value fails.
  const auto same = (a == b).logical_or(a.isnan().logical_and(b.isnan()));
  const auto difference = (a - b).abs().masked_fill(same, 0);
  check.max_abs = difference.max().item<double>();
  check.max_rel = (difference / b.abs().clamp_min(1e-12)).max().item<double>();
  check.pass = difference.le(atol + rtol * b.abs()).logical_or(same).all().item<bool>();
  return check;
}

CaseResult verify_case(const io::fs::path& folder) {
  const auto golden = GoldenCase::read(folder);
  CaseResult result;
  result.name = golden.method + "/" + io::fs::weakly_canonical(folder).filename().string();
  const auto produced = find_kind(golden.method, golden.kind).run(golden);
  result.pass = !golden.outputs.empty();
  for (const auto& [name, wanted] : golden.outputs) {
    const auto found = produced.find(name);
    result.outputs.push_back(found == produced.end()
                                 ? OutputCheck{.name = name, .problem = "not produced"}
                                 : compare_output(name, found->second, wanted, golden.rtol, golden.atol));
    result.pass &= result.outputs.back().pass;
  }
  return result;
}

std::string CaseResult::to_line() const {
  const OutputCheck* worst = nullptr;
  for (const auto& check : outputs) {
    const auto rank = [](const OutputCheck& c) {
      return std::make_tuple(!c.pass, !c.problem.empty(), c.max_abs);
    };
    if (!worst || rank(check) > rank(*worst)) worst = &check;
  }
  std::string line = str(pass ? "PASS " : "FAIL ", name, "  worst=", worst ? worst->name : "none");
  line += worst && !worst->problem.empty() ? " (" + worst->problem + ")"
                                           : str(" err=", worst ? worst->max_abs : 0.0);
  return line + str(" (", outputs.size(), " outputs)");
}

Json CaseResult::to_json() const {
  Json checks = Json::object();
  for (const auto& check : outputs) {
    checks[check.name] = {{"max_abs", check.max_abs}, {"max_rel", check.max_rel}, {"pass", check.pass}};
    if (!check.problem.empty()) checks[check.name]["problem"] = check.problem;
  }
  return {{"case", name}, {"pass", pass}, {"outputs", checks}};
}

Json rename_keys(const Json& config, const std::vector<std::pair<std::string, std::string>>& renames) {
  Json out = Json::object();
  for (auto [key, value] : leaves(config)) {
    for (const auto& [from, to] : renames)
      if (key == from) key = to;
    if (key.empty()) continue;
    std::string pointer = "/" + key;
    std::replace(pointer.begin(), pointer.end(), '.', '/');
    out[Json::json_pointer(pointer)] = value;
  }
  return out;
}

ConfigTable table_of(MethodConfig& config, const Json& document) {
  ConfigTable table;
  table.add("", config);
  table.merge(document, "case.toml");
  return table;
}

void add_gradients(const torch::nn::Module& module, io::Tensors& out) {
  for (const auto& item : module.named_parameters())
    if (item.value().grad().defined()) out["grad." + item.key()] = item.value().grad().clone();
}

}  // namespace lacuna
