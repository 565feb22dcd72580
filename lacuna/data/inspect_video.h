#pragma once
// Figures of films.

#include "lacuna/data/dataset.h"
#include "lacuna/data/transform.h"
#include "lacuna/io/video.h"

namespace lacuna::data {

/// Mean and deviation of the pixels of a few frames of at most `limit` films, evenly spread, in units of [0,
/// 1], as `channels` channels. Error when none can be read.
Normalization measure_films(const Dataset& dataset, int64_t limit, int64_t channels, int64_t workers,
                            const io::VideoLimits& limits);

}  // namespace lacuna::data
