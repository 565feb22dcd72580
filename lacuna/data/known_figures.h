#pragma once
// Figures of what the program draws by itself, so that a first run need not draw thousands of pictures to
// measure them.

#include <optional>

#include "lacuna/data/transform.h"

namespace lacuna::data {

/// Mean and deviation that inspect_dataset(dataset, 2048) measures, of a drawn set with its default keys;
/// nullopt for all others, and for other `channels` than it has (0: as stored).
std::optional<Normalization> known_normalization(const Dataset& dataset, int64_t channels);

}  // namespace lacuna::data
