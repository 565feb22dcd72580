#pragma once
// Repairs of texts from the web: what ftfy does before CLIP's tokenizer sees a text, and HTML's references.

#include <string>
#include <string_view>

namespace lacuna::text {

/// Character references of HTML 5 become characters, as a browser reads them (WHATWG HTML, "Named character
/// references" and 13.2.5.80): `&lt;`, `&#39;`, `&#x27;`, old ones without a semicolon (`&ltb`), Windows-1252
/// for &#128; .. &#159;.
std::string html_unescape(std::string_view utf8);

/// The part of ftfy.fix_text (version 6) that captions need: UTF-8 that was read as Windows-1252 or Latin-1
/// is read again; C1 controls, Latin ligatures, full- and half-width forms, curly quotes, line ends, terminal
/// escapes and control characters; NFC.
std::string fix_text(std::string_view utf8);

}  // namespace lacuna::text
