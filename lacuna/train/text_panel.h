#pragma once
// Texts as pictures: what was hidden, what is predicted.

#include "lacuna/method/method.h"
#include "lacuna/text/tokenizer.h"

namespace lacuna::train {

/// [H, W, 3] uint8: for each text its tokens, hidden ones on yellow, and below each the token that was
/// likeliest there, green where it is right, red where it is wrong; pale where the token was not hidden.
Tensor text_panel(const Preview& preview, const text::Tokenizer& tokenizer);

}  // namespace lacuna::train
