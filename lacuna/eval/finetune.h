#pragma once
// Fine-tuning: the encoder and a linear head trained on labels (MAE, section 4 and appendix A.1; SimMIM,
// section 4.1).

#include "lacuna/eval/protocol.h"

namespace lacuna::eval {

/// Logits of the whole set in order, scored. Metrics: top1, top5 (more than five classes), loss
/// (cross-entropy), chance. `classifier`: a Model whose method is "supervised".
Json classification_metrics(const Model& classifier, std::shared_ptr<data::Dataset> test,
                            const EvalConfig& config);

}  // namespace lacuna::eval
