#include "lacuna/train/describe.h"

namespace lacuna::train {

Json describe(const RunConfig& config) {
  Json keys = Json::array();
  for (const auto& field : config.table.fields()) {
    if (field.key == "method") continue;
    Json key = {{"key", field.key},
                {"type", field.type_name()},
                {"default", config.table.default_of(field.key)},
                {"meaning", field.help}};
    if (!field.choices_.empty()) key["choices"] = field.choices_;
    keys.push_back(std::move(key));
  }
  const MethodInfo& method = config.info();
  return {{"name", config.method},    {"title", method.title},     {"paper", method.paper},
          {"code", method.code},      {"summary", method.summary}, {"parts", method.parts},
          {"config", std::move(keys)}};
}

}  // namespace lacuna::train
