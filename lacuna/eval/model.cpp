#include "lacuna/core/error.h"
#include "lacuna/eval/protocol.h"
#include "lacuna/train/infer.h"
#include "lacuna/train/modality.h"
#include "lacuna/train/trainer.h"

namespace lacuna::eval {

Model load_model(const std::string& run_or_weights, const std::vector<std::string>& settings, bool best) {
  const auto weights = train::open_weights(run_or_weights, best);
  Model model;
  model.origin = weights.origin;
  model.config = train::config_of(weights, settings);
  model.config->resolve();
  model.normalization = {model.config->data.mean, model.config->data.std};
  model.config->modality().require_settled(*model.config, model.origin);
  model.method = model.config->make_method();
  train::load_into(*model.method, weights, *model.config, /*partial=*/false, /*without_decoder=*/true);
  model.method->to(train::choose_device(model.config->train.device));
  model.method->eval();
  return model;
}

}  // namespace lacuna::eval
