#include "lacuna/text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "lacuna/core/error.h"

namespace lacuna::text {
namespace {

constexpr uint32_t kMatchLimit =
    10'000'000;                            // steps of one match: a pattern of a hostile file ends in an Error
constexpr uint32_t kHeapLimit = 64 << 10;  // KiB

std::string message_of(int error) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(error, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

}  // namespace

struct Regex::Code {
  pcre2_code* code = nullptr;
  pcre2_match_context* context = nullptr;
  ~Code() {
    pcre2_match_context_free(context);
    pcre2_code_free(code);
  }
};

Regex::Regex(const std::string& pattern, const std::string& origin, bool any_case) : origin_(origin) {
  int error = 0;
  PCRE2_SIZE where = 0;
  auto made = std::make_shared<Code>();
  const uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | (any_case ? PCRE2_CASELESS : 0);
  made->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), options, &error,
                             &where, nullptr);
  if (!made->code)
    fail(origin,
         str("pattern '", pattern.substr(0, 80), "' is broken at ", where, " (", message_of(error), ")"),
         "use a pattern that PCRE2 reads");
  made->context = pcre2_match_context_create(nullptr);
  pcre2_set_match_limit(made->context, kMatchLimit);
  pcre2_set_heap_limit(made->context, kHeapLimit);
  pcre2_jit_compile(made->code, PCRE2_JIT_COMPLETE);  // where there is no JIT, the interpreter does it
  code_ = std::move(made);
}

Regex Regex::literal(const std::string& text, const std::string& origin) {
  std::string quoted;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x80 && std::isalnum(static_cast<unsigned char>(c)) == 0 && c != 0)
      quoted += '\\';
    quoted += c;
  }
  return Regex(quoted, origin);
}

std::vector<Span> Regex::find_all(std::string_view utf8) const {
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> found(
      pcre2_match_data_create_from_pattern(code_->code, nullptr), &pcre2_match_data_free);
  std::vector<Span> out;
  PCRE2_SIZE at = 0;
  while (at < utf8.size()) {
    const int count = pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(utf8.data()), utf8.size(), at,
                                  PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, found.get(), code_->context);
    if (count == PCRE2_ERROR_NOMATCH) break;
    if (count < 0)
      fail(origin_, "its pattern can't be matched: " + message_of(count), "use a simpler pattern");
    const auto* ends = pcre2_get_ovector_pointer(found.get());
    if (ends[1] <= at || ends[0] >= ends[1]) break;  // \K can move a match's start behind its end
    out.push_back({ends[0], ends[1]});
    at = ends[1];
  }
  return out;
}

std::string Regex::replace_all(std::string_view utf8, const std::string& by) const {
  std::string out;
  size_t at = 0;
  for (const auto& span : find_all(utf8)) {
    out.append(utf8.substr(at, span.begin - at)).append(by);
    at = span.end;
  }
  return out.append(utf8.substr(at));
}

}  // namespace lacuna::text
