#pragma once
// What a method is and which keys it takes, as data: behind `lacuna info` and lacuna.info() of the Python
// module.

#include "lacuna/train/config.h"

namespace lacuna::train {

/// {"name", "title", "paper", "code", "summary", "parts", "config": [{"key", "type", "default", "meaning",
/// "choices"?}]}. Defaults are the method's own, a named encoder's sizes filled in.
Json describe(const RunConfig& config);
/// The list under "config" alone.
Json describe_keys(const ConfigTable& table);

}  // namespace lacuna::train
