#include "lacuna/core/error.h"
#include "lacuna/eval/protocol.h"
#include "lacuna/train/infer.h"
#include "lacuna/train/trainer.h"

namespace lacuna::eval {

Model load_model(const std::string& run_or_weights, const std::vector<std::string>& settings, bool best) {
  const auto weights = train::open_weights(run_or_weights, best);
  Model model;
  model.origin = weights.origin;
  model.config = train::config_of(weights, settings);
  model.config->resolve();
  model.normalization = {model.config->data.mean, model.config->data.std};
  const auto channels = static_cast<size_t>(model.config->table.get("encoder.in_chans").get<int64_t>());
  if (model.normalization.mean.size() != channels || model.normalization.std.size() != channels)
    fail(str(model.origin, ": data.mean and data.std"),
         str("need ", channels, " numbers each, one for each channel"),
         "give them: --set data.mean=[...] --set data.std=[...]");
  model.method = model.config->make_method();
  train::load_into(*model.method, weights, *model.config, /*partial=*/false, /*without_decoder=*/true);
  model.method->to(train::choose_device(model.config->train.device));
  model.method->eval();
  return model;
}

}  // namespace lacuna::eval
