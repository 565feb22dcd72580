#pragma once
// Which tokens of a film are hidden: a few large blocks in space and time (V-JEPA, Bardes et al., 2024,
// section 3.2; facebookresearch/jepa and vjepa2, src/masks/multiseq_multiblock3d.py).

#include <torch/types.h>

#include <array>
#include <functional>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/core/draws.h"
#include "lacuna/nn/rotary.h"

namespace lacuna::mask {

/// One way of hiding; a batch is seen once under each. Ranges hold smallest and largest.
struct MultiBlockGroup {
  int64_t num_blocks = 8;
  std::array<double, 2> spatial_scale{0.15, 0.15};  ///< a block's area over the frame's
  std::array<double, 2> temporal_scale{1, 1};       ///< its length over the clip's
  std::array<double, 2> aspect_ratio{0.75, 1.5};    ///< height over width
  double max_temporal_keep = 1;                     ///< tokens behind this share of the clip are hidden
  int64_t max_keep = 0;                             ///< tokens of a context at most; 0: no bound
  bool full_complement = false;                     ///< targets: all that is not in the context
};

/// Keys `mask.*`: a value for each group, or one for all of them.
struct MultiBlockConfig {
  std::vector<int64_t> num_blocks{8, 2};
  std::vector<double> spatial_min{0.15, 0.7}, spatial_max{0.15, 0.7};
  std::vector<double> temporal_min{1}, temporal_max{1};
  std::vector<double> aspect_min{0.75}, aspect_max{1.5};
  std::vector<double> max_temporal_keep{1};
  std::vector<int64_t> max_keep{0}, full_complement{0};
  void fields(Fields& f);
  /// Error when two keys give different numbers of groups, or a range is upside down.
  std::vector<MultiBlockGroup> groups() const;
};

/// Refuses groups of which a single block may cover the whole `grid`, so that no context is left.
void check_multi_block(const MultiBlockConfig& config, const nn::Grid3& grid);

/// A block's size in tokens.
struct BlockSize {
  int64_t t = 1, h = 1, w = 1;
};
/// From three uniform numbers for length, area and aspect; the same for a whole batch.
BlockSize block_size(const MultiBlockGroup& group, const nn::Grid3& grid, const std::array<double, 3>& u);

/// Token numbers in rising order, int64: what the encoder sees, what is predicted. [B, K], [B, M].
struct TokenMasks {
  torch::Tensor context, targets;
};

/// Top, left and start of each block of sample `sample`, at its `attempt`-th try (0 = the first): a try that
/// leaves no context is thrown away.
using BlockPlaces = std::function<std::vector<std::array<int64_t, 3>>(int64_t sample, int64_t attempt)>;
/// The length that lists are cut to, from that of this process's shortest: the least of all processes, where
/// they share a batch. Empty: this process's own.
using AgreedLength = std::function<int64_t(int64_t)>;
/// Asked sample by sample, in order. Lists are cut to the batch's shortest; the last entries are lost.
TokenMasks multi_block(const MultiBlockGroup& group, const nn::Grid3& grid, const BlockSize& size,
                       int64_t samples, const BlockPlaces& places, const AgreedLength& agreed = {});

/// With sizes that depend on `step` and the group alone (all processes agree on them), and places drawn for
/// each sample: "mask.GROUP.ATTEMPT" [B, blocks, 3].
TokenMasks draw_multi_block(const MultiBlockGroup& group, int64_t group_number, const nn::Grid3& grid,
                            int64_t samples, int64_t step, Draws& draws, const AgreedLength& agreed = {});

}  // namespace lacuna::mask
