#pragma once
// tokenizer.json of Hugging Face's `tokenizers`: byte-level BPE, Llama's BPE with byte fallback, WordPiece,
// words.

#include <nlohmann/json.hpp>

#include "lacuna/text/tokenizer.h"

namespace lacuna::text {

/// A tokenizer from the document of a tokenizer.json. What batches need (truncation, padding) and BPE's
/// dropout are not read: encoding is a function of the text. Error naming `origin` for a broken document or a
/// step not known here.
std::shared_ptr<const Tokenizer> from_huggingface(const nlohmann::json& document, const std::string& origin);

}  // namespace lacuna::text
