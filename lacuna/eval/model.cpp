#include "lacuna/core/error.h"
#include "lacuna/eval/protocol.h"
#include "lacuna/train/infer.h"
#include "lacuna/train/modality.h"
#include "lacuna/train/trainer.h"

namespace lacuna::eval {

namespace {

/// The teacher kept beside the weights, else one that begins as they are.
void load_teacher(Method& method, const train::Weights& weights) {
  auto* ema = method.ema();
  if (ema == nullptr) return;
  if (const auto average = train::average_beside(weights))
    nn::load_weights(ema->average(), average->tensors, average->origin);
  else
    ema->restart();
}

}  // namespace

Model load_model(const std::string& run_or_weights, const std::vector<std::string>& settings,
                 train::WeightsChoice choice) {
  const auto weights = train::open_weights(run_or_weights, choice);
  Model model;
  model.origin = weights.origin;
  model.config = train::config_of(weights, settings);
  model.config->resolve();
  model.normalization = {model.config->data.mean, model.config->data.std};
  model.config->modality().require_settled(*model.config, model.origin);
  model.method = model.config->make_method();
  train::load_into(*model.method, weights, *model.config, /*partial=*/false, /*without_decoder=*/true);
  load_teacher(*model.method, weights);
  model.method->to(train::choose_device(model.config->train.device));
  model.method->eval();
  return model;
}

}  // namespace lacuna::eval
