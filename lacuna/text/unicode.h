#pragma once
// UTF-8 and the rules of Unicode that tokenizers rely on, by ICU.

#include <cstdint>
#include <string>
#include <string_view>

namespace lacuna::text {

inline constexpr char32_t kReplacement = 0xFFFD;  ///< stands for bytes that are no UTF-8

/// Code points; each maximal part that is no UTF-8 is one U+FFFD (Unicode 15, section 3.9, as Python's
/// "replace").
std::u32string code_points(std::string_view utf8);
/// One code point behind `out`; U+FFFD for surrogates and what is beyond U+10FFFF.
void append(std::string& out, char32_t code);
std::string to_utf8(std::u32string_view codes);
/// The text with U+FFFD where it is no UTF-8.
std::string valid_utf8(std::string_view bytes);
bool is_utf8(std::string_view bytes);
/// Bytes of the character that starts with `lead`: 1 .. 4; 1 for a byte that can't start one.
size_t character_size(char lead);

/// Normalisation forms (UAX 15).
enum class Form { nfc, nfd, nfkc, nfkd };
std::string normalise(std::string_view utf8, Form form);
/// Lower case of no particular language, special casing included (final sigma).
std::string lower(std::string_view utf8);
std::string upper(std::string_view utf8);
/// Without marks that take no space (Mn); letters with accents are to be decomposed before.
std::string without_marks(std::string_view utf8);

bool is_space(char32_t code);        ///< White_Space
bool is_punctuation(char32_t code);  ///< P*, and the ASCII signs that are no letters or digits
bool is_control(char32_t code);      ///< C*, but for tab, line feed and carriage return
bool is_digit(char32_t code);        ///< N*
bool is_chinese(char32_t code);      ///< CJK ideographs, as BERT counts them
/// Without blanks (White_Space) at the chosen ends.
std::string strip(std::string_view utf8, bool left = true, bool right = true);
/// Runs of blanks become one space.
std::string collapse_spaces(std::string_view utf8);

}  // namespace lacuna::text
