#pragma once
// Clouds of points as pictures, seen from two sides.

#include "lacuna/method/method.h"

namespace lacuna::train {

/// [H, W, 3] uint8: two rows for each cloud: from above and from the side. Columns: all points, those that
/// were seen beside grey places of the hidden ones, the seen ones with what is predicted of the hidden ones,
/// and there the predicted normals as short lines, coloured by direction (where there are any).
Tensor points_panel(const Preview& preview);

}  // namespace lacuna::train
