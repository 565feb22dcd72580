#pragma once
// What the protocols of picture-text models share.

#include "lacuna/eval/protocol.h"
#include "lacuna/method/clip.h"

namespace lacuna::eval {

/// The model's method; Error when it is no CLIP.
const Clip& clip_of(const Model& model, const std::string& protocol);

/// Recall of a search both ways. similarity [N, M] of pictures and texts, owner [M]: the picture of each
/// text. For k of `ks` that are below the number of candidates: image_to_text_rK, the share of pictures with
/// one of their texts among the K most similar; text_to_image_rK, the share of texts whose picture is; the
/// median rank (1 = first) of each way. Of equal similarities the smaller number comes first.
Json retrieval_metrics(const Tensor& similarity, const Tensor& owner, const std::vector<int64_t>& ks);

}  // namespace lacuna::eval
