// Decoders of tokenizer.json.

#include "lacuna/core/error.h"
#include "lacuna/text/byte_symbols.h"
#include "lacuna/text/pattern.h"
#include "lacuna/text/pipeline.h"
#include "lacuna/text/unicode.h"

namespace lacuna::text {
namespace {

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = 0; !from.empty() && (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

/// The byte of "<0x1F>", or -1.
int byte_of(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return -1;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    if (std::isxdigit(static_cast<unsigned char>(c)) == 0) return -1;
    value = value * 16 + (c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
  }
  return value;
}

/// Runs of byte tokens become characters; a run that is no UTF-8 one U+FFFD for each byte.
Pieces byte_fallback(Pieces tokens) {
  Pieces out;
  std::string bytes;
  const auto flush = [&] {
    if (bytes.empty()) return;
    if (is_utf8(bytes)) {
      out.push_back(bytes);
    } else {
      for (size_t i = 0; i < bytes.size(); ++i) out.push_back("\uFFFD");
    }
    bytes.clear();
  };
  for (auto& token : tokens) {
    if (const int byte = byte_of(token); byte >= 0) {
      bytes.push_back(static_cast<char>(byte));
    } else {
      flush();
      out.push_back(std::move(token));
    }
  }
  flush();
  return out;
}

Decoder fuse() {
  return [](Pieces tokens) { return Pieces{join(tokens, "")}; };
}

Decoder word_piece(const json& part) {
  static const std::vector<std::pair<const char*, const char*>> spaces = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  const auto prefix = part.value("prefix", std::string("##"));
  const bool cleanup = part.value("cleanup", true);
  return [=](Pieces tokens) {
    for (size_t i = 0; i < tokens.size(); ++i) {
      auto& token = tokens[i];
      if (i > 0) token = token.starts_with(prefix) ? token.substr(prefix.size()) : " " + token;
      if (cleanup)
        for (const auto& [from, to] : spaces) replace_all(token, from, to);
    }
    return tokens;
  };
}

Decoder metaspace(const json& part) {
  const auto mark = part.value("replacement", std::string("\u2581"));
  const auto scheme = part.value("prepend_scheme", part.value("add_prefix_space", true) ? "always" : "never");
  return [=](Pieces tokens) {
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (i == 0 && scheme != "never" && tokens[i].starts_with(mark)) tokens[i].erase(0, mark.size());
      replace_all(tokens[i], mark, " ");
    }
    return tokens;
  };
}

Decoder bpe(const json& part) {
  const auto suffix = part.value("suffix", std::string("</w>"));
  return [=](Pieces tokens) {
    for (size_t i = 0; i < tokens.size(); ++i)
      replace_all(tokens[i], suffix, i + 1 < tokens.size() ? " " : "");
    return tokens;
  };
}

/// Up to `start` copies of `content` from the front and `stop` from the back of each token.
Decoder strip_copies(const json& part) {
  const auto content = part.at("content").get<std::string>();
  const auto start = part.value("start", size_t{0}), stop = part.value("stop", size_t{0});
  return [=](Pieces tokens) {
    for (auto& token : tokens) {
      if (content.empty()) break;
      for (size_t n = 0; n < start && token.starts_with(content); ++n) token.erase(0, content.size());
      for (size_t n = 0; n < stop && token.ends_with(content); ++n)
        token.resize(token.size() - content.size());
    }
    return tokens;
  };
}

Decoder sequence(const json& parts, const std::string& origin, int depth) {
  std::vector<Decoder> steps;
  for (const auto& part : parts) steps.push_back(make_decoder(part, origin, depth + 1));
  return [steps](Pieces tokens) {
    for (const auto& step : steps)
      if (step) tokens = step(std::move(tokens));
    return tokens;
  };
}

}  // namespace

Decoder make_decoder(const json& part, const std::string& origin, int depth) {
  if (part.is_null()) return nullptr;
  const auto type = type_of(part, origin, depth);
  if (type == "Sequence") return sequence(part.at("decoders"), origin, depth);
  if (type == "ByteLevel")
    return [](Pieces tokens) {
      std::string bytes;
      for (const auto& token : tokens) bytes += bytes_of_spelling(token);
      return Pieces{valid_utf8(bytes)};
    };
  if (type == "ByteFallback") return byte_fallback;
  if (type == "Fuse") return fuse();
  if (type == "WordPiece") return word_piece(part);
  if (type == "Metaspace") return metaspace(part);
  if (type == "BPEDecoder") return bpe(part);
  if (type == "Strip") return strip_copies(part);
  if (type == "Replace") {
    const auto pattern = read_pattern(part.at("pattern"), origin);
    const auto by = part.at("content").get<std::string>();
    return [pattern, by](Pieces tokens) {
      for (auto& token : tokens) token = pattern.replace_all(token, by);
      return tokens;
    };
  }
  fail_type(type, "decoder", origin);
}

}  // namespace lacuna::text
