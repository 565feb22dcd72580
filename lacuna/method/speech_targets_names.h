#pragma once
// speech-targets' weights under other libraries' names.

#include "lacuna/method/method.h"

namespace lacuna {

/// transformers' HubertModel ("hf") and torchaudio's HuBERT, to and from fairseq's names; the config that
/// official tensors tell. The pre-training head exists in fairseq and torchaudio alone: hf leaves it out.
WeightNames speech_weight_names();

}  // namespace lacuna
