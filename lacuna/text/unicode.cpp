#include "lacuna/text/unicode.h"

#include <unicode/bytestream.h>
#include <unicode/casemap.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include "lacuna/core/error.h"

namespace lacuna::text {
namespace {

using Sink = icu::StringByteSink<std::string>;

int32_t length_of(std::string_view text) {
  if (text.size() > INT32_MAX) fail("a text", "is longer than 2 GB", "split it");
  return static_cast<int32_t>(text.size());
}

/// Calls body(code, first byte, last byte + 1) for each character.
template <class Body>
void each(std::string_view utf8, const Body& body) {
  const int32_t size = length_of(utf8);
  for (int32_t i = 0; i < size;) {
    const int32_t begin = i;
    UChar32 code;
    U8_NEXT_OR_FFFD(utf8.data(), i, size, code);
    body(static_cast<char32_t>(code), static_cast<size_t>(begin), static_cast<size_t>(i));
  }
}

/// The characters that `keep` wants.
template <class Keep>
std::string filtered(std::string_view utf8, const Keep& keep) {
  std::string out;
  each(utf8, [&](char32_t code, size_t begin, size_t end) {
    if (keep(code)) out.append(utf8.substr(begin, end - begin));
  });
  return out;
}

const icu::Normalizer2& normalizer(Form form) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* found = nullptr;
  switch (form) {
    case Form::nfc:
      found = icu::Normalizer2::getNFCInstance(status);
      break;
    case Form::nfd:
      found = icu::Normalizer2::getNFDInstance(status);
      break;
    case Form::nfkc:
      found = icu::Normalizer2::getNFKCInstance(status);
      break;
    case Form::nfkd:
      found = icu::Normalizer2::getNFKDInstance(status);
      break;
  }
  if (U_FAILURE(status) || !found) fail("ICU", "has no normalisation data", "install libicu72 again");
  return *found;
}

using Change = void (*)(const char* locale, uint32_t options, icu::StringPiece, icu::ByteSink&, icu::Edits*,
                        UErrorCode&);

template <Change change>
std::string cased(std::string_view utf8) {
  UErrorCode status = U_ZERO_ERROR;
  std::string out;
  Sink sink(&out);
  change("", 0, icu::StringPiece(utf8.data(), length_of(utf8)), sink, nullptr, status);
  if (U_FAILURE(status)) fail("a text", "can't be changed to another case", "check that it is UTF-8");
  return out;
}

}  // namespace

std::u32string code_points(std::string_view utf8) {
  std::u32string out;
  out.reserve(utf8.size());
  each(utf8, [&](char32_t code, size_t, size_t) { out.push_back(code); });
  return out;
}

void append(std::string& out, char32_t code) {
  if (code > 0x10FFFF || U_IS_SURROGATE(code)) code = kReplacement;
  char bytes[U8_MAX_LENGTH];
  int32_t size = 0;
  U8_APPEND_UNSAFE(bytes, size, static_cast<UChar32>(code));
  out.append(bytes, static_cast<size_t>(size));
}

std::string to_utf8(std::u32string_view codes) {
  std::string out;
  for (const auto code : codes) append(out, code);
  return out;
}

std::string valid_utf8(std::string_view bytes) {
  if (is_utf8(bytes)) return std::string(bytes);
  return to_utf8(code_points(bytes));
}

bool is_utf8(std::string_view bytes) {
  const int32_t size = length_of(bytes);
  for (int32_t i = 0; i < size;) {
    UChar32 code;
    U8_NEXT(bytes.data(), i, size, code);
    if (code < 0) return false;
  }
  return true;
}

size_t character_size(char lead) {
  return U8_IS_LEAD(static_cast<uint8_t>(lead))
             ? 1 + static_cast<size_t>(U8_COUNT_TRAIL_BYTES(static_cast<uint8_t>(lead)))
             : 1;
}

std::string normalise(std::string_view utf8, Form form) {
  UErrorCode status = U_ZERO_ERROR;
  std::string out;
  Sink sink(&out);
  normalizer(form).normalizeUTF8(0, {utf8.data(), length_of(utf8)}, sink, nullptr, status);
  if (U_FAILURE(status)) fail("a text", "can't be normalised", "check that it is UTF-8");
  return out;
}

std::string lower(std::string_view utf8) { return cased<icu::CaseMap::utf8ToLower>(utf8); }
std::string upper(std::string_view utf8) { return cased<icu::CaseMap::utf8ToUpper>(utf8); }

std::string without_marks(std::string_view utf8) {
  return filtered(utf8,
                  [](char32_t code) { return u_charType(static_cast<UChar32>(code)) != U_NON_SPACING_MARK; });
}

bool is_space(char32_t code) { return u_isUWhiteSpace(static_cast<UChar32>(code)) != 0; }

bool is_punctuation(char32_t code) {
  if (code < 0x80) return code > 0x20 && code < 0x7F && u_isalnum(static_cast<UChar32>(code)) == 0;
  return u_ispunct(static_cast<UChar32>(code)) != 0;
}

bool is_control(char32_t code) {
  if (code == U'\t' || code == U'\n' || code == U'\r') return false;
  return (U_GET_GC_MASK(static_cast<UChar32>(code)) & U_GC_C_MASK) != 0;
}

bool is_digit(char32_t code) { return (U_GET_GC_MASK(static_cast<UChar32>(code)) & U_GC_N_MASK) != 0; }

bool is_chinese(char32_t code) {
  return (code >= 0x4E00 && code <= 0x9FFF) || (code >= 0x3400 && code <= 0x4DBF) ||
         (code >= 0x20000 && code <= 0x2A6DF) || (code >= 0x2A700 && code <= 0x2B73F) ||
         (code >= 0x2B740 && code <= 0x2B81F) || (code >= 0x2B920 && code <= 0x2CEAF) ||
         (code >= 0xF900 && code <= 0xFAFF) || (code >= 0x2F800 && code <= 0x2FA1F);
}

std::string strip(std::string_view utf8, bool left, bool right) {
  size_t first = left ? utf8.size() : 0, last = right ? 0 : utf8.size();
  each(utf8, [&](char32_t code, size_t begin, size_t end) {
    if (is_space(code)) return;
    if (left) first = std::min(first, begin);
    if (right) last = end;
  });
  return std::string(first < last ? utf8.substr(first, last - first) : std::string_view());
}

std::string collapse_spaces(std::string_view utf8) {
  std::string out;
  bool blank = false;
  each(utf8, [&](char32_t code, size_t begin, size_t end) {
    const bool is_blank = is_space(code);
    if (!is_blank) out.append(utf8.substr(begin, end - begin));
    if (is_blank && !blank) out.push_back(' ');
    blank = is_blank;
  });
  return out;
}

}  // namespace lacuna::text
