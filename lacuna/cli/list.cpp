// lacuna list [methods|encoders|datasets|recipes|evals]

#include <cstdlib>
#include <filesystem>

#include "lacuna/cli/command.h"
#include "lacuna/cli/places.h"
#include "lacuna/data/dataset.h"
#include "lacuna/eval/explain.h"
#include "lacuna/method/method.h"
#include "lacuna/nn/encoder_config.h"

namespace lacuna::cli {
namespace {

using Entries = std::vector<std::pair<std::string, std::string>>;  // name, meaning

Entries methods() {
  Entries out;
  const auto& registry = Registry<MethodInfo>::instance();
  for (const auto& name : registry.names()) out.emplace_back(name, registry.get(name).title);
  return out;
}

std::string sizes_of(const std::string& arch) {
  nn::EncoderConfig config;
  ConfigTable table;
  table.add("encoder", config);
  table.set("encoder.arch", arch, "list");
  config.resolve(table, "encoder");
  if (config.kind() == nn::EncoderKind::kSwin)
    return str("width ", config.embed_dim, ", depths ", table.get("encoder.depths").dump(), ", heads ",
               table.get("encoder.num_heads").dump());
  return str("width ", config.embed_dim, ", depth ", config.depth, ", heads ", config.num_heads.front());
}

Entries encoders() {
  Entries out;
  for (const auto& name : nn::encoder_archs()) {
    const auto* network = Registry<nn::ConvNetArch>::instance().find(name);
    out.emplace_back(name, network ? network->summary : sizes_of(name));
  }
  return out;
}

Entries datasets() {
  Entries out;
  const auto& registry = Registry<data::DatasetScheme>::instance();
  for (const auto& name : registry.names())
    out.emplace_back(registry.get(name).form, registry.get(name).summary);
  return out;
}

Entries evals() {
  Entries out;
  const auto& registry = Registry<eval::Protocol>::instance();
  for (const auto& name : registry.names()) out.emplace_back(name, registry.get(name).summary);
  return out;
}

Entries explainers() {
  Entries out;
  const auto& registry = Registry<eval::Explainer>::instance();
  for (const auto& name : registry.names()) out.emplace_back(name, registry.get(name).title);
  return out;
}

Entries recipes() {
  Entries out;
  for (const auto& path : recipe_files()) {
    const Json document = read_toml(path.string());
    out.emplace_back(path.string(), document.value("/data/uri"_json_pointer, std::string("any data")));
  }
  return out;
}

const std::vector<std::pair<std::string, Entries (*)()>> kKinds = {
    {"methods", methods}, {"encoders", encoders}, {"datasets", datasets},
    {"recipes", recipes}, {"evals", evals},       {"explainers", explainers}};

void list(const std::string& wanted, const Output& output) {
  std::vector<std::string> kinds;
  for (const auto& [kind, entries] : kKinds) kinds.push_back(kind);
  if (!wanted.empty() && std::find(kinds.begin(), kinds.end(), wanted) == kinds.end())
    fail("list '" + wanted + "'", "unknown", suggest(wanted, kinds));
  Json document = Json::object();
  std::string text;
  for (const auto& [kind, entries] : kKinds) {
    if (!wanted.empty() && kind != wanted) continue;
    text += (text.empty() ? "" : "\n") + kind + "\n";
    document[kind] = Json::array();
    const Entries listed = entries();
    size_t width = 20;
    for (const auto& [name, meaning] : listed) width = std::max(width, name.size());
    for (const auto& [name, meaning] : listed) {
      text += str("  ", name, std::string(width + 2 - name.size(), ' '), meaning, "\n");
      document[kind].push_back({{"name", name}, {"summary", meaning}});
    }
  }
  text.pop_back();
  output.print(document, text);
}

const Register<Command> registered{
    "list", {"what there is", [](CLI::App& app) {
               auto wanted = std::make_shared<std::string>();
               auto output = std::make_shared<Output>();
               app.add_option("kind", *wanted,
                              "methods, encoders, datasets, recipes, evals or explainers; all by default");
               output->add_to(app);
               return [wanted, output] { list(*wanted, *output); };
             }}};

}  // namespace
}  // namespace lacuna::cli
