#include "lacuna/text/added_tokens.h"

#include <algorithm>

#include "lacuna/text/regex.h"
#include "lacuna/text/unicode.h"

namespace lacuna::text {
namespace {

size_t character_before(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
  return begin;
}

char32_t code_at(std::string_view text, size_t begin) {
  return code_points(text.substr(begin, character_size(text[begin]))).front();
}

bool is_word(std::string_view text, size_t begin) {
  static const Regex word("\\w", "a word");
  return !word.find_all(text.substr(begin, character_size(text[begin]))).empty();
}

bool stands_alone(std::string_view text, size_t begin, size_t end) {
  return (begin == 0 || !is_word(text, character_before(text, begin))) &&
         (end == text.size() || !is_word(text, end));
}

}  // namespace

AddedToken read_added_token(const nlohmann::json& token) {
  AddedToken out;
  out.id = token.at("id").get<int32_t>();
  out.content = token.at("content").get<std::string>();
  out.single_word = token.value("single_word", false);
  out.lstrip = token.value("lstrip", false);
  out.rstrip = token.value("rstrip", false);
  out.special = token.value("special", false);
  out.normalized = token.value("normalized", !out.special);
  return out;
}

void AddedTokens::add(const AddedToken& token) {
  if (token.content.empty()) return;
  tokens_.push_back(token);
  auto& list = by_first_[static_cast<uint8_t>(token.content[0])];
  list.push_back(tokens_.size() - 1);
  std::stable_sort(list.begin(), list.end(),
                   [&](size_t a, size_t b) { return tokens_[a].content.size() > tokens_[b].content.size(); });
}

const AddedToken* AddedTokens::at(std::string_view text, size_t begin) const {
  for (const auto index : by_first_[static_cast<uint8_t>(text[begin])]) {
    const auto& token = tokens_[index];
    if (text.substr(begin).starts_with(token.content)) return &token;
  }
  return nullptr;
}

std::vector<Part> AddedTokens::split(std::string_view text) const {
  std::vector<Part> out;
  size_t done = 0;  // up to here everything is in `out`
  const auto take_text = [&](size_t end) {
    if (end > done) out.push_back({-1, std::string(text.substr(done, end - done))});
  };
  for (size_t i = 0; i < text.size() && !tokens_.empty();) {
    const auto* token = at(text, i);
    if (!token) {
      ++i;
      continue;
    }
    size_t begin = i, end = i + token->content.size();
    i = end;
    if (token->single_word && !stands_alone(text, begin, end)) continue;
    while (token->lstrip && begin > done && is_space(code_at(text, character_before(text, begin))))
      begin = character_before(text, begin);
    while (token->rstrip && end < text.size() && is_space(code_at(text, end)))
      end += character_size(text[end]);
    take_text(begin);
    out.push_back({token->id, ""});
    done = i = end;
  }
  take_text(text.size());
  return out;
}

}  // namespace lacuna::text
