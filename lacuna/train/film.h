#pragma once
// Panels of films: what was hidden and what was predicted, standing and moving.

#include "lacuna/data/transform.h"
#include "lacuna/method/method.h"
#include "lacuna/train/picture.h"

namespace lacuna::train {

/// [H, W, 3] uint8: a few frames of the first films, time downwards, drawn as preview_panel draws pictures;
/// without predicted pixels the error of each hidden cube as a heat map.
Tensor film_strip(const Preview& preview, const data::Normalization& normalization);
/// [T, H, W, 3] uint8: the panel of a few films at every frame.
Tensor moving_panel(const Preview& preview, const data::Normalization& normalization);

}  // namespace lacuna::train
