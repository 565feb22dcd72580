#pragma once
// Data sets drawn by the program: `synthetic:scenes`, `synthetic:bands`, `synthetic:speech`,
// `synthetic:moving`. They need no file, so that a first run, a test or a benchmark works anywhere. A record
// is a pure function of (seed, split, index, size); nothing is kept.

#include <ATen/core/Tensor.h>

#include <string>

#include "lacuna/core/config.h"
#include "lacuna/core/draws.h"
#include "lacuna/data/synthetic_shapes.h"

namespace lacuna::data {

/// Query keys of every drawn set.
struct SyntheticConfig {
  int64_t count = 5000;
  int64_t seed = 0;
  std::string split = "train";
  void fields(Fields& f);
};

/// Query keys of drawn pictures.
struct SyntheticPictures : SyntheticConfig {
  Size2 size{96, 96};
  void fields(Fields& f);
};

/// A scene: on a background of sky and ground or a patterned wall stands the shape `label` (an index of
/// kSceneShapes) in any pose, colour and light, among one to four shapes of other kinds, some of them in
/// front of it. Half of the shapes of a class carry the pattern that the class prefers; colours say nothing
/// about it. The same `random` draws the same scene at any size. [H, W, 3] uint8.
at::Tensor draw_scene(Size2 size, int64_t label, Stream random);

/// Bands: what a scanner of `channels` bands might see of a textured field. A few hidden fields are mixed
/// into every band by smooth response curves. The label is the fields' texture: waves, spots, cells, clouds.
inline constexpr int kBandClasses = 4;
extern const char* const kBandClassNames[kBandClasses];
/// [H, W, channels] uint8.
at::Tensor draw_bands(Size2 size, int64_t channels, int64_t label, Stream random);

}  // namespace lacuna::data
