#pragma once
// `synthetic:moving`: films whose class is a motion. What moves, its colours, its size and what lies behind
// it say nothing about the class, nor does any single frame.

#include <string>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/core/draws.h"
#include "lacuna/io/video.h"

namespace lacuna::data {

/// left-right, up-down, diagonal, circle, spin, pulse, bounce, still: of class 0, 1, ...
std::vector<std::string> motion_names();

/// A shape (disc, square, triangle, cross, ring or star) of any colour, size, pose and starting phase in
/// front of a patterned field moves as class `label` does, at any speed from half a period to one and a half
/// a film. The same `random` draws the same film at any size. 8 frames a second.
io::Video draw_moving(Size2 size, int64_t frames, int64_t label, Stream random);

}  // namespace lacuna::data
