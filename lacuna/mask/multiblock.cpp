#include "lacuna/mask/multiblock.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "lacuna/core/error.h"

namespace lacuna::mask {

namespace {

constexpr int64_t kMaxAttempts = 1000;

/// The value of group `g`: of a list with one value for each group, or of one for all.
template <class T>
T of_group(const std::vector<T>& values, size_t g) {
  return values.size() == 1 ? values[0] : values[g];
}

/// Whether each token is hidden, for blocks at `places`.
std::vector<char> hide(const MultiBlockGroup& group, const nn::Grid3& grid, const BlockSize& size,
                       const std::vector<std::array<int64_t, 3>>& places) {
  std::vector<char> hidden(static_cast<size_t>(grid.count()), 0);
  const auto hide_box = [&](int64_t start, int64_t length, int64_t top, int64_t height, int64_t left,
                            int64_t width) {
    for (int64_t t = start; t < start + length; ++t)
      for (int64_t y = top; y < top + height; ++y) {
        const auto row = hidden.begin() + (t * grid.h + y) * grid.w + left;
        std::fill(row, row + width, 1);
      }
  };
  for (const auto& [top, left, start] : places) hide_box(start, size.t, top, size.h, left, size.w);
  const auto seen =
      std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(grid.t) * group.max_temporal_keep));
  if (seen < grid.t) hide_box(seen, grid.t - seen, 0, grid.h, 0, grid.w);
  return hidden;
}

std::vector<int64_t> positions_of(const std::vector<char>& hidden, char wanted) {
  std::vector<int64_t> out;
  for (size_t i = 0; i < hidden.size(); ++i)
    if (hidden[i] == wanted) out.push_back(static_cast<int64_t>(i));
  return out;
}

/// The first `length` entries of each list.
at::Tensor cut(const std::vector<std::vector<int64_t>>& lists, int64_t length) {
  const auto out = at::empty({std::ssize(lists), length}, at::kLong);
  auto* to = out.mutable_data_ptr<int64_t>();
  for (const auto& list : lists) to = std::copy_n(list.begin(), length, to);
  return out;
}

int64_t shortest(const std::vector<std::vector<int64_t>>& lists) {
  auto length = std::ssize(lists.front());
  for (const auto& list : lists) length = std::min(length, std::ssize(list));
  return length;
}

/// All tokens that are not among `context` [B, K].
std::vector<std::vector<int64_t>> complement(const at::Tensor& context, int64_t tokens) {
  std::vector<std::vector<int64_t>> lists;
  for (int64_t b = 0; b < context.size(0); ++b) {
    std::vector<char> kept(static_cast<size_t>(tokens), 0);
    const auto row = context.accessor<int64_t, 2>()[b];
    for (int64_t k = 0; k < context.size(1); ++k) kept[static_cast<size_t>(row[k])] = 1;
    lists.push_back(positions_of(kept, 0));
  }
  return lists;
}

int64_t spread(float u, int64_t n) {
  return std::min(n - 1, static_cast<int64_t>(static_cast<double>(u) * static_cast<double>(n)));
}

}  // namespace

void MultiBlockConfig::fields(Fields& f) {
  f("num_blocks", num_blocks,
    "blocks that are hidden, for each group of masks; all keys: one value or one a group")
      .range(1, 1000);
  f("spatial_min", spatial_min, "a block's share of the frame, at least").range(0, 1);
  f("spatial_max", spatial_max, "a block's share of the frame, at most").range(0, 1);
  f("temporal_min", temporal_min, "a block's share of the clip's length, at least").range(0, 1);
  f("temporal_max", temporal_max, "a block's share of the clip's length, at most").range(0, 1);
  f("aspect_min", aspect_min, "a block's height over its width, at least").range(0.01, 100);
  f("aspect_max", aspect_max, "a block's height over its width, at most").range(0.01, 100);
  f("max_temporal_keep", max_temporal_keep, "what lies behind this share of the clip is hidden").range(0, 1);
  f("max_keep", max_keep, "tokens that the encoder sees at most; 0: no bound").range(0);
  f("full_complement", full_complement, "1: everything that the encoder does not see is predicted")
      .range(0, 1);
}

std::vector<MultiBlockGroup> MultiBlockConfig::groups() const {
  const std::map<std::string, size_t> counts = {
      {"num_blocks", num_blocks.size()},     {"spatial_min", spatial_min.size()},
      {"spatial_max", spatial_max.size()},   {"temporal_min", temporal_min.size()},
      {"temporal_max", temporal_max.size()}, {"aspect_min", aspect_min.size()},
      {"aspect_max", aspect_max.size()},     {"max_temporal_keep", max_temporal_keep.size()},
      {"max_keep", max_keep.size()},         {"full_complement", full_complement.size()}};
  size_t groups = 1;
  for (const auto& [key, count] : counts) groups = std::max(groups, count);
  for (const auto& [key, count] : counts)
    if (count != 1 && count != groups)
      fail("mask." + key, str(count, " values for ", groups, " groups of masks"),
           "give one for each group, or one for all");
  std::vector<MultiBlockGroup> out;
  for (size_t g = 0; g < groups; ++g) {
    const auto range = [&](const char* key, const auto& low, const auto& high) {
      const std::array<double, 2> found{of_group(low, g), of_group(high, g)};
      if (found[0] > found[1])
        fail(str("mask.", key, "_min ", found[0]), str("is above mask.", key, "_max ", found[1]),
             "swap them");
      return found;
    };
    out.push_back({.num_blocks = of_group(num_blocks, g),
                   .spatial_scale = range("spatial", spatial_min, spatial_max),
                   .temporal_scale = range("temporal", temporal_min, temporal_max),
                   .aspect_ratio = range("aspect", aspect_min, aspect_max),
                   .max_temporal_keep = of_group(max_temporal_keep, g),
                   .max_keep = of_group(max_keep, g),
                   .full_complement = of_group(full_complement, g) != 0});
  }
  return out;
}

void check_multi_block(const MultiBlockConfig& config, const nn::Grid3& grid) {
  constexpr int kAspects = 100;
  for (const auto& group : config.groups())
    for (int i = 0; i <= kAspects; ++i) {
      const auto size = block_size(group, grid, {1, 1, i / static_cast<double>(kAspects)});
      if (size.h == grid.h && size.w == grid.w && size.t == grid.t)
        fail(str("mask.spatial_max ", group.spatial_scale[1]),
             str("one block of it can cover all ", grid.t, "x", grid.h, "x", grid.w, " tokens"),
             "hide less, or use smaller patches");
    }
}

BlockSize block_size(const MultiBlockGroup& group, const nn::Grid3& grid, const std::array<double, 3>& u) {
  const auto between = [](const std::array<double, 2>& range, double share) {
    return range[0] + share * (range[1] - range[0]);
  };
  const auto length = static_cast<double>(grid.t) * between(group.temporal_scale, u[0]);
  const auto area = std::floor(static_cast<double>(grid.plane()) * between(group.spatial_scale, u[1]));
  const double aspect = between(group.aspect_ratio, u[2]);
  const auto side = [](double value, int64_t most) {  // half to even
    return std::clamp<int64_t>(static_cast<int64_t>(std::nearbyint(std::sqrt(value))), 1, most);
  };
  return {std::max<int64_t>(1, static_cast<int64_t>(length)), side(area * aspect, grid.h),
          side(area / aspect, grid.w)};
}

TokenMasks multi_block(const MultiBlockGroup& group, const nn::Grid3& grid, const BlockSize& size,
                       int64_t samples, const BlockPlaces& places, const AgreedLength& agreed) {
  std::vector<std::vector<int64_t>> contexts, targets;
  for (int64_t sample = 0; sample < samples; ++sample) {
    std::vector<int64_t> context;
    std::vector<char> hidden;
    for (int64_t attempt = 0; context.empty(); ++attempt) {
      if (attempt == kMaxAttempts)
        fail("mask", str(kMaxAttempts, " tries hid everything"), "hide less: fewer or smaller blocks");
      hidden = hide(group, grid, size, places(sample, attempt));
      context = positions_of(hidden, 0);
    }
    contexts.push_back(std::move(context));
    targets.push_back(positions_of(hidden, 1));
  }
  const auto length = [&](const std::vector<std::vector<int64_t>>& lists) {
    return agreed ? agreed(shortest(lists)) : shortest(lists);
  };
  int64_t kept = length(contexts);
  if (group.max_keep > 0) kept = std::min(kept, group.max_keep);
  TokenMasks out{cut(contexts, kept), {}};
  if (group.full_complement) targets = complement(out.context, grid.count());
  out.targets = cut(targets, length(targets));
  return out;
}

TokenMasks draw_multi_block(const MultiBlockGroup& group, int64_t group_number, const nn::Grid3& grid,
                            int64_t samples, int64_t step, Draws& draws, const AgreedLength& agreed) {
  Stream sizes(0, str("multi_block.", group_number), 0, static_cast<uint32_t>(step));
  const double u1 = sizes.uniform(), u2 = sizes.uniform(), u3 = sizes.uniform();
  const auto size = block_size(group, grid, {u1, u2, u3});
  std::vector<at::Tensor> attempts;
  const auto places = [&](int64_t sample, int64_t attempt) {
    if (attempt == std::ssize(attempts))
      attempts.push_back(
          draws.uniform(str("mask.", group_number, ".", attempt), {samples, group.num_blocks, 3}));
    const auto row = attempts[static_cast<size_t>(attempt)].accessor<float, 3>()[sample];
    std::vector<std::array<int64_t, 3>> out;
    for (int64_t block = 0; block < group.num_blocks; ++block)
      out.push_back({spread(row[block][0], grid.h - size.h + 1), spread(row[block][1], grid.w - size.w + 1),
                     spread(row[block][2], grid.t - size.t + 1)});
    return out;
  };
  return multi_block(group, grid, size, samples, places, agreed);
}

}  // namespace lacuna::mask
