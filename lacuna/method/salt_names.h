#pragma once

#include "lacuna/method/method.h"

namespace lacuna {

/// Released V-JEPA and V-JEPA 2 checkpoints (encoder, predictor, target_encoder, each "module.backbone."),
/// and transformers' VJEPA2Model ("hf").
WeightNames salt_weight_names();

}  // namespace lacuna
