#include "lacuna/nn/conv_net.h"

namespace lacuna::nn {

bool is_conv_net(const std::string& arch) { return Registry<ConvNetArch>::instance().find(arch) != nullptr; }

std::optional<Json> recognize_conv_net(const std::map<std::string, Tensor>& weights) {
  const auto& registry = Registry<ConvNetArch>::instance();
  for (const auto& name : registry.names()) {
    const auto& arch = registry.get(name);
    if (!arch.recognize) continue;
    if (auto sizes = arch.recognize(weights)) return sizes;
  }
  return std::nullopt;
}

}  // namespace lacuna::nn
