#pragma once
// Classes as CLIP's text tower knows them.

#include <string>
#include <vector>

#include "lacuna/data/captions.h"
#include "lacuna/method/clip.h"
#include "lacuna/train/config.h"

namespace lacuna::train {

/// Of a CLIP's config: its tokenizer and context.
data::CaptionEncoder caption_encoder(const RunConfig& config);

/// [C, E], rows of length 1: each class's name in every template, encoded and averaged. `normalize_each`: the
/// features are normalised before the mean (OpenAI's notebook); else as they are (R-AMT's order; card
/// 00-clip, "Zero-shot head"). One template: the same. Without gradient.
Tensor class_text_features(const Clip& clip, const data::CaptionEncoder& encoder,
                           const std::vector<std::string>& classes, const std::vector<std::string>& templates,
                           bool normalize_each);

}  // namespace lacuna::train
