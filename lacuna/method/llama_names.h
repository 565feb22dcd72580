#pragma once

#include "lacuna/method/method.h"

namespace lacuna {

/// LlamaForCausalLM's names are our own; lit-gpt's (TinyLlama, MEAP's own checkpoints) are read too, and
/// written with format "timm" refused.
WeightNames llama_weight_names();

/// lit-gpt's names and packed attention: per group its queries, then key, then value. `head_width`: of the
/// network.
WeightNames::Tensors to_lit_gpt(const WeightNames::Tensors& tensors, int64_t head_width);

}  // namespace lacuna
