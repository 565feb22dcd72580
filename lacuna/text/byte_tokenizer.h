#pragma once

#include "lacuna/text/tokenizer.h"

namespace lacuna::text {

/// A vocabulary that needs no file: 0 .. 255 are bytes, then <s>, </s>, [MASK].
std::shared_ptr<const Tokenizer> byte_tokenizer();

}  // namespace lacuna::text
