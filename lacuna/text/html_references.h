#pragma once

namespace lacuna::text {

/// "AElig C6,AElig; C6,..." (html_references.cpp).
extern const char* const kHtmlReferences;

}  // namespace lacuna::text
