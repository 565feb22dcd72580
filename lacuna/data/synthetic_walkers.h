#pragma once
// synthetic:walkers: bodies of 17 joints that walk, run, jump, wave, squat or turn, drawn by the program.

#include <string>
#include <vector>

#include "lacuna/core/draws.h"
#include "lacuna/io/motion.h"

namespace lacuna::data {

/// Classes by label.
std::vector<std::string> walker_actions();
/// Metres, 25 frames a second, axis 2 up; the joints of Human3.6M's 17.
io::Motion draw_walker(int64_t action, int64_t frames, Stream random);

}  // namespace lacuna::data
