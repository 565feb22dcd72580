#pragma once
// Scores of a recogniser on recordings whose transcripts are known.

#include "lacuna/eval/protocol.h"

namespace lacuna::eval {

/// Metrics: ter (wrong tokens over the transcripts' tokens), wer (the same with words), accuracy (records
/// without a fault), substitutions, deletions, insertions and reference_tokens that ter is made of.
/// `recogniser`: a Model whose method is "speech-ctc". Records without a transcript are left out.
Json transcription_metrics(const Model& recogniser, std::shared_ptr<data::Dataset> test,
                           const EvalConfig& config);

}  // namespace lacuna::eval
