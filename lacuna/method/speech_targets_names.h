#pragma once
// speech-targets' weights under other libraries' names.

#include "lacuna/method/method.h"

namespace lacuna {

/// transformers' HubertModel ("hf") and torchaudio's HuBERT, to and from fairseq's names; the config that
/// official tensors tell. The pre-training head exists in fairseq and torchaudio alone: hf leaves it out.
WeightNames speech_weight_names();
/// speech-ctc: the same around transformers' HubertForCTC ("hf"). Files do not say what their classes mean:
/// head.tokens must be given where it matters.
WeightNames ctc_weight_names();

}  // namespace lacuna
