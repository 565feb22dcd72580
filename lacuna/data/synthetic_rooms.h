#pragma once
// synthetic:rooms: rooms with one piece of furniture or one solid, as points on their surfaces.

#include <string>
#include <vector>

#include "lacuna/core/draws.h"
#include "lacuna/io/points.h"

namespace lacuna::data {

/// Classes by label.
std::vector<std::string> room_objects();
/// Classes of points: floor, wall, then the objects.
std::vector<std::string> room_point_classes();
/// A room of 4 to 7 m, 2.5 m high, the origin 1 m above its floor, z up. A third of the `count` points lies
/// on the object `label`, the others on floor and walls, all evenly by area with 5 mm of noise. Fields x, y,
/// z; labels of points: 0 floor, 1 wall, 2 + label.
io::Points draw_room(int64_t label, int64_t count, Stream random);

}  // namespace lacuna::data
