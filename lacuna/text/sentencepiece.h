#pragma once
// sentencepiece models (Kudo and Richardson, EMNLP 2018), read by Google's library.

#include "lacuna/text/tokenizer.h"

namespace lacuna::text {

/// Opens a *.model file: BPE, Unigram, words or characters. Begin and end are put around a text as Llama does
/// it: <s> in front, nothing behind. Error when the file is broken.
std::shared_ptr<const Tokenizer> open_sentencepiece(const io::fs::path& path);

}  // namespace lacuna::text
