// Pre-tokenizers of tokenizer.json.

#include "lacuna/core/error.h"
#include "lacuna/text/byte_symbols.h"
#include "lacuna/text/pattern.h"
#include "lacuna/text/pipeline.h"
#include "lacuna/text/unicode.h"

namespace lacuna::text {
namespace {

/// What becomes of a separator.
enum class Behaviour { removed, isolated, with_previous, with_next, contiguous };

Behaviour behaviour_of(const std::string& name, const std::string& origin) {
  if (name == "Removed") return Behaviour::removed;
  if (name == "Isolated") return Behaviour::isolated;
  if (name == "MergedWithPrevious") return Behaviour::with_previous;
  if (name == "MergedWithNext") return Behaviour::with_next;
  if (name == "Contiguous") return Behaviour::contiguous;
  fail_type(name, "behaviour of a split", origin);
}

/// A stretch of a text that is a separator or is none.
struct Stretch {
  size_t begin, end;
  bool separator;
};

/// The whole text as stretches: the spans and what lies between them; `invert`: the other way round.
std::vector<Stretch> stretches(const std::vector<Span>& spans, size_t size, bool invert) {
  std::vector<Stretch> out;
  size_t at = 0;
  for (const auto& span : spans) {
    if (span.begin > at) out.push_back({at, span.begin, invert});
    out.push_back({span.begin, span.end, !invert});
    at = span.end;
  }
  if (at < size) out.push_back({at, size, invert});
  return out;
}

std::vector<Stretch> joined(const std::vector<Stretch>& all, Behaviour behaviour) {
  std::vector<Stretch> out;
  bool before = false;  // whether the stretch before was a separator
  if (behaviour == Behaviour::with_next) {
    for (auto i = all.rbegin(); i != all.rend(); ++i) {
      if (i->separator && !before && !out.empty())
        out.back().begin = i->begin;
      else
        out.push_back(*i);
      before = i->separator;
    }
    std::reverse(out.begin(), out.end());
    return out;
  }
  for (const auto& stretch : all) {
    const bool extends = behaviour == Behaviour::with_previous
                             ? stretch.separator && !before
                             : behaviour == Behaviour::contiguous && stretch.separator == before;
    if (behaviour == Behaviour::removed && stretch.separator) continue;
    if (extends && !out.empty())
      out.back().end = stretch.end;
    else
      out.push_back(stretch);
    before = stretch.separator;
  }
  return out;
}

using Find = std::function<std::vector<Span>(std::string_view)>;

PreTokenizer splitter(Find find, Behaviour behaviour, bool invert = false) {
  return [find = std::move(find), behaviour, invert](Pieces pieces, bool) {
    Pieces out;
    for (const auto& piece : pieces)
      for (const auto& part : joined(stretches(find(piece), piece.size(), invert), behaviour))
        if (part.end > part.begin) out.push_back(piece.substr(part.begin, part.end - part.begin));
    return out;
  };
}

/// Every character of which `is` is true, one by one.
template <class Is>
Find characters(Is is) {
  return [is](std::string_view text) {
    std::vector<Span> out;
    for (size_t i = 0; i < text.size();) {
      const size_t size = std::min(character_size(text[i]), text.size() - i);
      if (is(code_points(text.substr(i, size)).front())) out.push_back({i, i + size});
      i += size;
    }
    return out;
  };
}

Find matches(const Regex& regex) {
  return [regex](std::string_view text) { return regex.find_all(text); };
}

PreTokenizer then(PreTokenizer first, PreTokenizer second) {
  return
      [first, second](Pieces pieces, bool start) { return second(first(std::move(pieces), start), start); };
}

PreTokenizer byte_level(const json& part) {
  static const Regex words(R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
                           "GPT-2's pattern");
  const bool prefix = part.value("add_prefix_space", true), split = part.value("use_regex", true);
  const auto cut = splitter(matches(words), Behaviour::isolated);
  return [=](Pieces pieces, bool first) {
    if (prefix)
      for (auto& piece : pieces)
        if (piece.empty() || piece[0] != ' ') piece.insert(0, " ");
    if (split) pieces = cut(std::move(pieces), first);
    for (auto& piece : pieces) piece = spell_bytes(piece);
    return pieces;
  };
}

PreTokenizer metaspace(const json& part, const std::string& origin) {
  const auto mark = part.value("replacement", std::string("\u2581"));
  const auto scheme = part.value("prepend_scheme", part.value("add_prefix_space", true) ? "always" : "never");
  if (scheme != "always" && scheme != "first" && scheme != "never")
    fail_type(scheme, "prepend_scheme", origin);
  const auto cut = splitter(matches(Regex::literal(mark, origin)), Behaviour::with_next);
  const bool split = part.value("split", true);
  return [=](Pieces pieces, bool first) {
    bool start = first;
    for (auto& piece : pieces) {
      std::string marked;
      for (const char c : piece) c == ' ' ? marked.append(mark) : marked.append(1, c);
      if ((scheme == "always" || (scheme == "first" && start)) && !marked.starts_with(mark))
        marked.insert(0, mark);
      piece = marked;
      start = false;
    }
    return split ? cut(std::move(pieces), first) : pieces;
  };
}

PreTokenizer sequence(const json& parts, const std::string& origin, int depth) {
  std::vector<PreTokenizer> steps;
  for (const auto& part : parts) steps.push_back(make_pre_tokenizer(part, origin, depth + 1));
  return [steps](Pieces pieces, bool first) {
    for (const auto& step : steps)
      if (step) pieces = step(std::move(pieces), first);
    return pieces;
  };
}

}  // namespace

Regex read_pattern(const json& pattern, const std::string& origin) {
  if (pattern.contains("Regex")) return Regex(pattern.at("Regex").get<std::string>(), origin);
  return Regex::literal(pattern.at("String").get<std::string>(), origin);
}

PreTokenizer make_pre_tokenizer(const json& part, const std::string& origin, int depth) {
  if (part.is_null()) return nullptr;
  const auto type = type_of(part, origin, depth);
  const auto blanks = splitter(characters(is_space), Behaviour::removed);
  if (type == "Sequence") return sequence(part.at("pretokenizers"), origin, depth);
  if (type == "ByteLevel") return byte_level(part);
  if (type == "Metaspace") return metaspace(part, origin);
  if (type == "WhitespaceSplit") return blanks;
  if (type == "Whitespace")
    return splitter(matches(Regex(R"(\w+|[^\w\s]+)", origin)), Behaviour::removed, true);
  if (type == "BertPreTokenizer")
    return then(blanks, splitter(characters(is_punctuation), Behaviour::isolated));
  if (type == "Punctuation")
    return splitter(characters(is_punctuation), behaviour_of(part.value("behavior", "Isolated"), origin));
  if (type == "Digits")
    return splitter(characters(is_digit),
                    part.value("individual_digits", false) ? Behaviour::isolated : Behaviour::contiguous);
  if (type == "CharDelimiterSplit")
    return splitter(matches(Regex::literal(part.at("delimiter").get<std::string>(), origin)),
                    Behaviour::removed);
  if (type == "Split")
    return splitter(matches(read_pattern(part.at("pattern"), origin)),
                    behaviour_of(part.at("behavior").get<std::string>(), origin),
                    part.value("invert", false));
  fail_type(type, "pre-tokenizer", origin);
}

}  // namespace lacuna::text
