#include "lacuna/text/repair.h"

#include <array>
#include <charconv>
#include <optional>
#include <unordered_map>

#include "lacuna/text/html_references.h"
#include "lacuna/text/regex.h"
#include "lacuna/text/unicode.h"

namespace lacuna::text {
namespace {

/// What Windows-1252 has at 0x80 .. 0x9F; bytes without a character stand for themselves ("sloppy").
constexpr std::array<char32_t, 32> kWindows = {
    0x20AC, 0x81,   0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
    0x2039, 0x0152, 0x8D,   0x017D, 0x8F,   0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
    0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x9D,   0x017E, 0x0178};

/// The byte that Windows-1252, or else Latin-1, writes a character as.
std::optional<uint8_t> windows_byte(char32_t code) {
  if (code < 0x100) return static_cast<uint8_t>(code);
  for (size_t i = 0; i < kWindows.size(); ++i)
    if (kWindows[i] == code) return static_cast<uint8_t>(0x80 + i);
  return std::nullopt;
}

const std::unordered_map<std::string_view, std::string>& references() {
  static const auto table = [] {
    std::unordered_map<std::string_view, std::string> out;
    std::string_view rest = kHtmlReferences;
    while (!rest.empty()) {
      const auto item = rest.substr(0, rest.find(','));
      rest.remove_prefix(item.size() + 1);
      const auto name = item.substr(0, item.find(' '));
      std::string value;
      for (const char* at = item.data() + name.size(); at < item.data() + item.size();) {
        uint32_t code = 0;
        at = std::from_chars(at + 1, item.data() + item.size(), code, 16).ptr;
        append(value, code);
      }
      out.emplace(name, value);
    }
    return out;
  }();
  return table;
}

/// The character of &#N; by HTML's rules: replaced, or nothing for one that may not be.
std::string numbered(std::string_view digits, int base) {
  uint32_t code = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), code, base);
  if (read.ec == std::errc::result_out_of_range) code = 0x110000;
  std::string out;
  if (code >= 0x80 && code <= 0x9F) {
    append(out, kWindows[code - 0x80]);
  } else if (code == 0 || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) {
    append(out, kReplacement);
  } else {
    const bool barred = (code < 0x20 && code != '\t' && code != '\n' && code != '\f' && code != '\r') ||
                        code == 0x7F || (code >= 0xFDD0 && code <= 0xFDEF) || (code & 0xFFFE) == 0xFFFE;
    if (!barred) append(out, code);
  }
  return out;
}

/// The characters of a named reference without its &, and what follows an old one without a semicolon.
std::string named(std::string_view name) {
  const auto& table = references();
  if (const auto found = table.find(name); found != table.end()) return found->second;
  for (size_t size = name.size() - 1; size > 1; --size)
    if (const auto found = table.find(name.substr(0, size)); found != table.end())
      return found->second + std::string(name.substr(size));
  return "&" + std::string(name);
}

std::string reference(std::string_view body) {
  if (body[0] != '#') return named(body);
  const bool hex = body[1] == 'x' || body[1] == 'X';
  return numbered(body.substr(hex ? 2 : 1), hex ? 16 : 10);
}

/// Replaces each match of `pattern` by `make(match)`.
template <class Make>
std::string substituted(const Regex& pattern, std::string_view text, const Make& make) {
  std::string out;
  size_t at = 0;
  for (const auto& span : pattern.find_all(text)) {
    out.append(text.substr(at, span.begin - at)).append(make(text.substr(span.begin, span.end - span.begin)));
    at = span.end;
  }
  return out.append(text.substr(at));
}

/// References that end in a semicolon; also the upper-case spellings of lower-case names ("&EACUTE;").
std::string unescape_certain(std::string_view text) {
  static const Regex pattern("&#?[0-9A-Za-z]{1,24};", "HTML references");
  return substituted(pattern, text, [](std::string_view match) -> std::string {
    const auto body = match.substr(1);
    if (body[0] == '#') {
      const auto made = html_unescape(match);
      return made.find(';') == std::string::npos ? made : std::string(match);
    }
    const auto& table = references();
    if (const auto found = table.find(body); found != table.end()) return found->second;
    std::string small = lower(body);
    const bool all_upper =
        std::none_of(body.begin(), body.end(), [](char c) { return c >= 'a' && c <= 'z'; });
    const auto found = table.find(small);
    if (!all_upper || found == table.end() || html_unescape(match) != match) return std::string(match);
    return upper(found->second);
  });
}

/// Length of the UTF-8 sequence that the characters from `i` on are the bytes of; 0: they are none.
size_t misread_sequence(std::u32string_view text, size_t i, std::string& bytes) {
  const auto lead = windows_byte(text[i]);
  if (!lead || *lead < 0xC2 || *lead > 0xF4) return 0;
  const size_t size = *lead < 0xE0 ? 2 : *lead < 0xF0 ? 3 : 4;
  if (i + size > text.size()) return 0;
  bytes.assign(1, static_cast<char>(*lead));
  for (size_t k = 1; k < size; ++k) {
    const auto byte = windows_byte(text[i + k]);
    if (!byte || *byte < 0x80 || *byte > 0xBF) return 0;
    // A capital with an accent before a quote, a dash or an ellipsis may well be meant: only the letters of
    // 0xC2 and 0xC3, which hardly ever end a word, are taken for a misreading there.
    if (size == 2 && *lead > 0xC3 && is_punctuation(text[i + k])) return 0;
    bytes.push_back(static_cast<char>(*byte));
  }
  return is_utf8(bytes) ? size : 0;
}

/// UTF-8 that was read as Windows-1252 or Latin-1, read as UTF-8.
std::string read_again(const std::string& utf8) {
  const auto text = code_points(utf8);
  std::string out, bytes;
  for (size_t i = 0; i < text.size();) {
    const size_t size = misread_sequence(text, i, bytes);
    if (size > 0)
      out += bytes;
    else
      append(out, text[i]);
    i += std::max<size_t>(size, 1);
  }
  return out;
}

/// The characters that stand for `code` alone, or none when it stands as it is.
std::optional<std::string> replaced(char32_t code) {
  static const std::unordered_map<char32_t, const char*> ligatures = {
      {0x132, "IJ"},       {0x133, "ij"},  {0x149, "\u02BCn"}, {0x1C4, "D\u017D"}, {0x1C5, "D\u017E"},
      {0x1C6, "d\u017E"},  {0x1C7, "LJ"},  {0x1C8, "Lj"},      {0x1C9, "lj"},      {0x1CA, "NJ"},
      {0x1CB, "Nj"},       {0x1CC, "nj"},  {0x1F1, "DZ"},      {0x1F2, "Dz"},      {0x1F3, "dz"},
      {0xFB00, "ff"},      {0xFB01, "fi"}, {0xFB02, "fl"},     {0xFB03, "ffi"},    {0xFB04, "ffl"},
      {0xFB05, "\u017Ft"}, {0xFB06, "st"}};
  const auto in = [&](char32_t low, char32_t high) { return code >= low && code <= high; };
  if (in(0x80, 0x9F)) {
    if (code == 0x85) return "\u2026";
    std::string out;
    append(out, kWindows[code - 0x80]);
    return out;
  }
  if (const auto found = ligatures.find(code); found != ligatures.end()) return found->second;
  if (code == 0x3000) return " ";
  if (in(0xFF01, 0xFFEF)) return normalise(to_utf8(std::u32string(1, code)), Form::nfkc);
  if (code == 0x2BC || in(0x2018, 0x201B)) return "'";
  if (in(0x201C, 0x201F)) return "\"";
  if (code == 0x2028 || code == 0x2029) return "\n";
  if (in(0, 8) || code == 0xB || in(0xE, 0x1A) || in(0x1C, 0x1F) || code == 0x7F || in(0x206A, 0x206F) ||
      code == 0xFEFF || in(0xFFF9, 0xFFFC))
    return "";
  return std::nullopt;
}

std::string replace_characters(const std::string& utf8) {
  std::string out;
  const auto text = code_points(utf8);
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == U'\r') {
      if (i + 1 == text.size() || text[i + 1] != U'\n') out.push_back('\n');
    } else if (const auto other = replaced(text[i])) {
      out += *other;
    } else {
      append(out, text[i]);
    }
  }
  return out;
}

std::string without_escapes(const std::string& utf8) {
  static const Regex terminal("\x1B\\[[0-9;]*[a-zA-Z]|\x1B", "terminal escapes");
  return utf8.find('\x1B') == std::string::npos ? utf8 : terminal.replace_all(utf8, "");
}

}  // namespace

std::string html_unescape(std::string_view utf8) {
  static const Regex pattern("&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\\t\\n\\f <&#;]{1,32};?)",
                             "HTML references");
  const auto text = valid_utf8(utf8);
  if (text.find('&') == std::string::npos) return text;
  return substituted(pattern, text, [](std::string_view match) { return reference(match.substr(1)); });
}

std::string fix_text(std::string_view utf8) {
  // Each step may uncover what another repairs. A text grows shorter or plainer with every round; the limit
  // is for those that were made to take long.
  constexpr int kRounds = 16;
  std::string text = valid_utf8(utf8);
  for (int round = 0; round < kRounds; ++round) {
    const std::string before = text;
    if (text.find('<') == std::string::npos) text = unescape_certain(text);
    text = normalise(without_escapes(replace_characters(read_again(text))), Form::nfc);
    if (text == before) break;
  }
  return text;
}

}  // namespace lacuna::text
