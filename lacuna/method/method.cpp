#include "lacuna/method/method.h"

#include "lacuna/core/error.h"

namespace lacuna {

Tensor Method::tokens(const Batch& /*batch*/) {
  fail("tokens", "this method does not give its encoder's tokens out", "use eval linear or knn");
}

bool Method::decays(const std::string& name, const Tensor& parameter) const {
  return parameter.dim() > 1 && !name.ends_with(".bias");
}

Frames Method::frames(const Batch& /*batch*/) {
  fail("features of frames", "this method's input has no time",
       "use a method of sound: `lacuna list methods`");
}

std::map<std::string, Tensor> Method::weights() const {
  auto out = nn::named_tensors(*this);
  std::erase_if(out, [](const auto& item) { return item.first.starts_with("ema."); });
  return out;
}

std::vector<std::string> load_weights(Method& method, const nn::NamedTensors& weights,
                                      const std::string& origin, bool partial) {
  return nn::load_weights(method.weights(), weights, origin, partial);
}

}  // namespace lacuna
