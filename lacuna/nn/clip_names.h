#pragma once
// A CLIP's tensors under OpenAI's names, which are ours, and under transformers' CLIPModel's.

#include "lacuna/core/config.h"
#include "lacuna/nn/weights.h"

namespace lacuna::nn {

/// Whether these are a CLIPModel's names.
bool is_hf_clip(const NamedTensors& tensors);
/// q, k, v become one matrix, projections are turned to [in, out]. Names that no rule knows are kept.
NamedTensors clip_from_hf(const NamedTensors& tensors);
/// The inverse; gradients of weights go the same way. A tensor whose name no rule knows is kept.
NamedTensors clip_to_hf(const NamedTensors& tensors);
/// Whether these are OpenAI's names, of both towers or the image tower alone.
bool is_clip(const NamedTensors& tensors);
/// The keys encoder.*, text.* and projection.* that OpenAI's tensors tell; heads are 64 wide, as in all
/// published networks. Null when they are no CLIP's.
Json clip_sizes(const NamedTensors& tensors);

}  // namespace lacuna::nn
