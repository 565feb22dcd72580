// Normalizers of tokenizer.json.

#include "lacuna/core/error.h"
#include "lacuna/text/byte_symbols.h"
#include "lacuna/text/pattern.h"
#include "lacuna/text/pipeline.h"
#include "lacuna/text/unicode.h"

namespace lacuna::text {
namespace {

/// Lower case letter by letter, as the `tokenizers` library does it: a final sigma stays an ordinary one.
std::string lower_each(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const size_t size = std::min(character_size(text[i]), text.size() - i);
    out += size == 1
               ? std::string(1, static_cast<char>(text[i] >= 'A' && text[i] <= 'Z' ? text[i] + 32 : text[i]))
               : lower(std::string_view(text).substr(i, size));
    i += size;
  }
  return out;
}

/// BERT's: controls away, blanks to spaces, spaces around ideographs.
std::string bert_clean(const std::string& text, bool clean, bool chinese) {
  std::string out;
  for (const auto code : code_points(text)) {
    if (clean && (code == 0 || code == kReplacement || is_control(code))) continue;
    if (clean && is_space(code)) {
      out.push_back(' ');
    } else if (chinese && is_chinese(code)) {
      out.push_back(' ');
      append(out, code);
      out.push_back(' ');
    } else {
      append(out, code);
    }
  }
  return out;
}

Normalizer bert(const json& part) {
  const bool clean = part.value("clean_text", true), chinese = part.value("handle_chinese_chars", true);
  const bool to_lower = part.value("lowercase", true);
  const auto found = part.find("strip_accents");
  const bool accents = found == part.end() || found->is_null() ? to_lower : found->get<bool>();
  return [=](std::string text) {
    if (clean || chinese) text = bert_clean(text, clean, chinese);
    if (accents) text = without_marks(normalise(text, Form::nfd));
    return to_lower ? lower_each(text) : text;
  };
}

Normalizer sequence(const json& parts, const std::string& origin, int depth) {
  std::vector<Normalizer> steps;
  for (const auto& part : parts) steps.push_back(make_normalizer(part, origin, depth + 1));
  return [steps](std::string text) {
    for (const auto& step : steps)
      if (step) text = step(std::move(text));
    return text;
  };
}

}  // namespace

Normalizer make_normalizer(const json& part, const std::string& origin, int depth) {
  if (part.is_null()) return nullptr;
  const auto type = type_of(part, origin, depth);
  const auto form = [](Form to) { return [to](std::string text) { return normalise(text, to); }; };
  if (type == "Sequence") return sequence(part.at("normalizers"), origin, depth);
  if (type == "NFC") return form(Form::nfc);
  if (type == "NFD") return form(Form::nfd);
  if (type == "NFKC") return form(Form::nfkc);
  if (type == "NFKD") return form(Form::nfkd);
  if (type == "Lowercase") return [](std::string text) { return lower_each(text); };
  if (type == "StripAccents") return [](std::string text) { return without_marks(text); };
  if (type == "ByteLevel") return [](std::string text) { return spell_bytes(text); };
  if (type == "BertNormalizer") return bert(part);
  if (type == "Strip") {
    const bool left = part.value("strip_left", true), right = part.value("strip_right", true);
    return [=](std::string text) { return strip(text, left, right); };
  }
  if (type == "Prepend") {
    const auto prefix = part.at("prepend").get<std::string>();
    return [prefix](std::string text) { return text.empty() ? text : prefix + text; };
  }
  if (type == "Replace") {
    const auto pattern = read_pattern(part.at("pattern"), origin);
    const auto by = part.at("content").get<std::string>();
    return [pattern, by](std::string text) { return pattern.replace_all(text, by); };
  }
  fail_type(type, "normalizer", origin);
}

}  // namespace lacuna::text
