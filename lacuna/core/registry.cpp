#include "lacuna/core/registry.h"

namespace lacuna {

std::shared_ptr<void>& process_wide(const std::string& name) {
  static std::map<std::string, std::shared_ptr<void>> objects;
  return objects[name];
}

}  // namespace lacuna
