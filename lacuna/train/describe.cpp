#include "lacuna/train/describe.h"

namespace lacuna::train {

Json describe_keys(const ConfigTable& table) {
  Json keys = Json::array();
  for (const auto& field : table.fields()) {
    if (field.key == "method") continue;
    Json key = {{"key", field.key},
                {"type", field.type_name()},
                {"default", table.default_of(field.key)},
                {"meaning", field.help}};
    if (!field.choices_.empty()) key["choices"] = field.choices_;
    keys.push_back(std::move(key));
  }
  return keys;
}

Json describe(const RunConfig& config) {
  const MethodInfo& method = config.info();
  RunConfig used(config.method);
  used.method_config->resolve(used.table);
  Json keys = describe_keys(used.table);
  for (auto& key : keys) key["default"] = used.table.get(key["key"].get<std::string>());
  return {{"name", config.method},    {"title", method.title},     {"paper", method.paper},
          {"code", method.code},      {"summary", method.summary}, {"parts", method.parts},
          {"config", std::move(keys)}};
}

}  // namespace lacuna::train
