#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "lacuna/text/regex.h"

namespace lacuna::text {

/// {"String": "..."} or {"Regex": "..."} of a tokenizer.json.
Regex read_pattern(const nlohmann::json& pattern, const std::string& origin);

}  // namespace lacuna::text
