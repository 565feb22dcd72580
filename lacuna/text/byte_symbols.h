#pragma once
// How byte-level vocabularies (GPT-2, CLIP, Llama 3) write bytes as characters.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace lacuna::text {

/// The 256 bytes in the order of GPT-2's and CLIP's symbols: the printable ones of Latin-1 first.
const std::array<uint8_t, 256>& byte_symbol_order();
/// How each byte is spelled: as itself where it is printable, else as U+0100 and up.
const std::array<char32_t, 256>& byte_spelling();
std::string spell_bytes(std::string_view bytes);  ///< each byte as its symbol, UTF-8
/// The bytes that a token spells; a token with a character that is no symbol stands for itself.
std::string bytes_of_spelling(std::string_view token);

}  // namespace lacuna::text
