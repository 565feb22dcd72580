#include "lacuna/nn/voxels.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna::nn {

namespace {

// A shard's groups are counted in a table where one is no larger than this many times the shard, else sorted.
constexpr int64_t kTableShare = 16;
constexpr int64_t kShards = 512;
constexpr int64_t kSmallestShard = 4096;  // keys

/// One shard's part of the work: its items in their order, its groups with local numbers.
struct Shard {
  std::vector<int64_t> keys, count;
  int64_t first_group = 0;
};

/// Groups the items `order[begin, end)`, whose keys lie in [low, low + width); local numbers go to `of`.
Shard group_shard(const int64_t* keys, const int64_t* order, int64_t begin, int64_t end, int64_t low,
                  int64_t width, int64_t* of) {
  Shard out;
  const int64_t n = end - begin;
  if (width <= kTableShare * n) {
    std::vector<int64_t> table(static_cast<size_t>(width), 0);
    for (int64_t i = begin; i < end; ++i) ++table[static_cast<size_t>(keys[order[i]] - low)];
    for (int64_t k = 0; k < width; ++k) {
      auto& cell = table[static_cast<size_t>(k)];
      if (cell == 0) continue;
      out.keys.push_back(low + k);
      out.count.push_back(cell);
      cell = std::ssize(out.keys) - 1;
    }
    for (int64_t i = begin; i < end; ++i) of[order[i]] = table[static_cast<size_t>(keys[order[i]] - low)];
    return out;
  }
  std::vector<int64_t> sorted(order + begin, order + end);
  std::sort(sorted.begin(), sorted.end(), [&](int64_t a, int64_t b) { return keys[a] < keys[b]; });
  for (const int64_t item : sorted) {
    if (out.keys.empty() || out.keys.back() != keys[item]) {
      out.keys.push_back(keys[item]);
      out.count.push_back(0);
    }
    ++out.count.back();
    of[item] = std::ssize(out.keys) - 1;
  }
  return out;
}

/// Items with a key, shard after shard, and where each shard begins.
struct ShardedItems {
  std::vector<int64_t> order, begin;
};

ShardedItems shard_items(const int64_t* keys, int64_t P, int64_t width, int64_t shards) {
  const int64_t chunks = std::clamp<int64_t>(at::get_num_threads(), 1, std::max<int64_t>(1, P / 4096));
  const auto range = [&](int64_t chunk) { return std::pair(P * chunk / chunks, P * (chunk + 1) / chunks); };
  std::vector<std::vector<int64_t>> next(static_cast<size_t>(chunks),
                                         std::vector<int64_t>(static_cast<size_t>(shards), 0));
  const auto each_chunk = [&](const auto& body) {
    at::parallel_for(0, chunks, 1, [&](int64_t from, int64_t to) {
      for (int64_t chunk = from; chunk < to; ++chunk) {
        const auto [first, last] = range(chunk);
        for (int64_t i = first; i < last; ++i)
          if (keys[i] >= 0) body(i, next[static_cast<size_t>(chunk)][static_cast<size_t>(keys[i] / width)]);
      }
    });
  };
  each_chunk([](int64_t /*item*/, int64_t& count) { ++count; });
  ShardedItems out;
  out.begin.assign(static_cast<size_t>(shards) + 1, 0);
  int64_t total = 0;
  for (int64_t shard = 0; shard < shards; ++shard) {
    out.begin[static_cast<size_t>(shard)] = total;
    for (auto& counts : next) {
      const int64_t count = counts[static_cast<size_t>(shard)];
      counts[static_cast<size_t>(shard)] = total;
      total += count;
    }
  }
  out.begin.back() = total;
  out.order.resize(static_cast<size_t>(total));
  each_chunk([&](int64_t item, int64_t& place) { out.order[static_cast<size_t>(place++)] = item; });
  return out;
}

Groups group_on_cpu(const Tensor& keys_tensor, int64_t limit) {
  const auto contiguous = keys_tensor.contiguous();
  const auto* keys = contiguous.const_data_ptr<int64_t>();
  const int64_t P = contiguous.numel();
  const int64_t width = std::max(kSmallestShard, (limit + kShards - 1) / kShards);
  const int64_t shards = (limit + width - 1) / width;
  const auto items = shard_items(keys, P, width, shards);
  const auto begin = [&](int64_t shard) { return items.begin[static_cast<size_t>(shard)]; };

  Groups out;
  out.of = torch::full({P}, -1, torch::kLong);
  auto* of = out.of.mutable_data_ptr<int64_t>();
  std::vector<Shard> done(static_cast<size_t>(shards));
  at::parallel_for(0, shards, 1, [&](int64_t from, int64_t to) {
    for (int64_t s = from; s < to; ++s)
      if (begin(s) < begin(s + 1))
        done[static_cast<size_t>(s)] =
            group_shard(keys, items.order.data(), begin(s), begin(s + 1), s * width, width, of);
  });
  int64_t groups = 0;
  for (auto& shard : done) {
    shard.first_group = groups;
    groups += std::ssize(shard.keys);
  }
  out.keys = torch::empty({groups}, torch::kLong);
  out.count = torch::empty({groups}, torch::kLong);
  at::parallel_for(0, shards, 1, [&](int64_t from, int64_t to) {
    for (int64_t s = from; s < to; ++s) {
      const auto& shard = done[static_cast<size_t>(s)];
      std::copy(shard.keys.begin(), shard.keys.end(),
                out.keys.mutable_data_ptr<int64_t>() + shard.first_group);
      std::copy(shard.count.begin(), shard.count.end(),
                out.count.mutable_data_ptr<int64_t>() + shard.first_group);
      for (int64_t i = begin(s); i < begin(s + 1); ++i)
        of[items.order[static_cast<size_t>(i)]] += shard.first_group;
    }
  });
  return out;
}

Groups group_anywhere(const Tensor& keys) {
  const auto kept = keys.ge(0).nonzero().squeeze(1);
  const auto [unique, inverse, count] = at::_unique2(keys.index_select(0, kept), true, true, true);
  auto of = torch::full_like(keys, -1);
  of.index_copy_(0, kept, inverse);
  return {unique, of, count};
}

constexpr int64_t kPointsATask = 16384;

/// One pass with the operations of the tensors below, in float32.
Tensor coordinates_on_cpu(const Tensor& points, const VoxelGrid& grid) {
  const auto rows = points.to(torch::kFloat).contiguous();
  const int64_t P = rows.size(0), F = rows.size(1);
  auto out = torch::empty({P, 3}, torch::kLong);
  std::array<float, 3> start{}, size{}, last{};
  for (size_t axis = 0; axis < 3; ++axis) {
    start[axis] = static_cast<float>(grid.start[axis]);
    size[axis] = static_cast<float>(grid.size[axis]);
    last[axis] = static_cast<float>(grid.cells[axis] - 1);
  }
  const auto* from = rows.const_data_ptr<float>();
  auto* to = out.mutable_data_ptr<int64_t>();
  at::parallel_for(0, P, kPointsATask, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      std::array<float, 3> cell{};
      bool inside = true;
      for (size_t axis = 0; axis < 3; ++axis) {
        cell[axis] = std::floor((from[i * F + 2 - static_cast<int64_t>(axis)] - start[axis]) / size[axis]);
        inside = inside && cell[axis] >= 0 && cell[axis] <= last[axis];  // false for NaN
      }
      for (size_t axis = 0; axis < 3; ++axis)
        to[3 * i + static_cast<int64_t>(axis)] = inside ? static_cast<int64_t>(cell[axis]) : -1;
    }
  });
  return out;
}

/// The number of each point's pillar among those of all clouds; -1 outside. cell [P, 3], batch [P].
Tensor pillar_numbers(const Tensor& cell, const Tensor& batch, int64_t rows, int64_t columns) {
  const auto y = cell.select(1, 1), x = cell.select(1, 2);
  if (!cell.is_cpu())
    return torch::where(y.ge(0), (batch * rows + y) * columns + x, torch::full_like(batch, -1));
  const auto cloud = batch.contiguous();
  auto out = torch::empty_like(cloud);
  const auto* from = cell.const_data_ptr<int64_t>();
  const auto* of = cloud.const_data_ptr<int64_t>();
  auto* to = out.mutable_data_ptr<int64_t>();
  at::parallel_for(0, cloud.numel(), kPointsATask, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      to[i] = from[3 * i + 1] < 0 ? -1 : (of[i] * rows + from[3 * i + 1]) * columns + from[3 * i + 2];
  });
  return out;
}

/// Without a gradient, on the host, in the order of the rows: as scatter_add_ adds them.
Tensor sums_on_cpu(const Tensor& values, const Tensor& of, int64_t groups) {
  const auto rows = values.contiguous(), index = of.contiguous();
  const int64_t P = rows.size(0), D = rows.size(1);
  auto out = torch::zeros({groups, D}, rows.options());
  const auto* from = rows.const_data_ptr<double>();
  const auto* at = index.const_data_ptr<int64_t>();
  auto* to = out.mutable_data_ptr<double>();
  for (int64_t i = 0; i < P; ++i)
    for (int64_t d = 0; d < D; ++d) to[at[i] * D + d] += from[i * D + d];
  return out;
}

}  // namespace

void VoxelConfig::fields(Fields& f) {
  f("size", size, "a pillar's size along x, y, z, in metres").range(1e-6, 1e6);
  f("range", range, "lowest x, y, z and highest x, y, z that are looked at, in metres").range(-1e6, 1e6);
  f("low", low, "fine parts of a pillar along z, y, x, of which each has a centroid").range(1, 64);
  f("med", med, "coarser parts of a pillar along z, y, x; normals are made of their centroids").range(1, 64);
}

void VoxelConfig::check() const {
  if (size.size() != 3 || range.size() != 6 || low.size() != 3 || med.size() != 3)
    fail("voxel", "voxel.size, low and med have three numbers, voxel.range six", "give as many");
  for (size_t axis = 0; axis < 3; ++axis)
    if (range[axis] >= range[axis + 3])
      fail("voxel.range", str("begins at ", range[axis], " and ends at ", range[axis + 3]),
           "give the lowest corner first");
  const auto grid = pillar_grid(*this);
  if (grid.cells[0] != 1)
    fail(str("voxel.size: height ", size[2]), "a pillar spans the whole height of voxel.range",
         str("use ", range[5] - range[2]));
  constexpr int64_t kMostCells = int64_t{1} << 26;
  if (grid.cells[1] < 1 || grid.cells[2] < 1 || grid.area() > kMostCells)
    fail("voxel", str("the grid has ", grid.cells[1], " x ", grid.cells[2], " pillars"),
         str("use 1 to ", kMostCells, ": other sizes or another range"));
}

VoxelGrid pillar_grid(const VoxelConfig& config) {
  VoxelGrid out;
  for (size_t axis = 0; axis < 3; ++axis) {
    const size_t xyz = 2 - axis;
    out.size[axis] = config.size[xyz];
    out.start[axis] = config.range[xyz];
    out.cells[axis] = std::llround((config.range[xyz + 3] - config.range[xyz]) / config.size[xyz]);
  }
  return out;
}

VoxelGrid cut_grid(const VoxelGrid& grid, const std::vector<int64_t>& parts) {
  VoxelGrid out = grid;
  for (size_t axis = 0; axis < 3; ++axis) {
    out.size[axis] /= static_cast<double>(parts[axis]);
    out.cells[axis] *= parts[axis];
  }
  return out;
}

Tensor voxel_coordinates(const Tensor& points, const VoxelGrid& grid) {
  if (points.is_cpu()) return coordinates_on_cpu(points, grid);
  const auto as_row = [&](const std::array<double, 3>& values) {
    return torch::tensor({values[0], values[1], values[2]}, torch::kDouble)
        .to(points.device(), torch::kFloat);
  };
  const auto zyx = points.slice(1, 0, 3).to(torch::kFloat).flip(1);
  const auto cell = zyx.sub(as_row(grid.start)).div_(as_row(grid.size)).floor_();
  const auto last = torch::tensor({grid.cells[0] - 1, grid.cells[1] - 1, grid.cells[2] - 1}, torch::kLong)
                        .to(points.device(), torch::kFloat);
  const auto inside = cell.ge(0).logical_and_(cell.le(last)).all(1, /*keepdim=*/true);  // false for NaN
  return torch::where(inside, cell, torch::full_like(cell, -1)).to(torch::kLong);
}

Groups group_by_key(const Tensor& keys, int64_t limit) {
  return keys.is_cpu() ? group_on_cpu(keys, limit) : group_anywhere(keys);
}

Tensor group_sums(const Tensor& values, const Tensor& of, int64_t groups) {
  if (values.is_cpu() && !values.requires_grad() && values.scalar_type() == torch::kDouble)
    return sums_on_cpu(values, of, groups);
  const int64_t P = values.size(0), D = values.size(1);
  auto sums = torch::zeros({D, groups}, values.options());
  sums.scatter_add_(1, of.unsqueeze(0).expand({D, P}), values.t());
  return sums.t();
}

std::vector<int64_t> Pillars::per_cloud() const {
  const auto counts = torch::bincount(coords.select(1, 0), {}, clouds).cpu();
  return {counts.const_data_ptr<int64_t>(), counts.const_data_ptr<int64_t>() + clouds};
}

Pillars make_pillars(const Tensor& points, const Tensor& batch, int64_t clouds, const VoxelGrid& grid) {
  LACUNA_ASSERT(grid.cells[0] == 1);
  const auto cell = voxel_coordinates(points, grid);
  const int64_t rows = grid.cells[1], columns = grid.cells[2], area = rows * columns;
  const auto key = pillar_numbers(cell, batch, rows, columns);
  const auto groups = group_by_key(key, clouds * area);
  const auto kept = key.ge(0).nonzero().squeeze(1);

  Pillars out{.grid = grid, .clouds = clouds};
  out.points = points.index_select(0, kept);
  out.batch = batch.index_select(0, kept);
  out.source = kept;
  out.of = groups.of.index_select(0, kept);
  const auto place = groups.keys.remainder(area);
  out.coords = torch::stack({groups.keys.floor_divide(area), torch::zeros_like(place),
                             place.floor_divide(columns), place.remainder(columns)},
                            1);
  out.count = groups.count;
  out.table = torch::full({clouds * area}, -1, key.options());
  out.table.index_copy_(0, groups.keys, torch::arange(groups.keys.size(0), key.options()));
  return out;
}

Pillars make_pillars(const Tensor& points, const Tensor& count, const VoxelGrid& grid) {
  const int64_t B = points.size(0), N = points.size(1);
  const auto place = torch::arange(N, torch::TensorOptions(torch::kLong).device(points.device()));
  const auto there = place.unsqueeze(0) < count.to(points.device()).unsqueeze(1);  // [B, N]
  const auto rows = there.flatten().nonzero().squeeze(1);
  auto out = make_pillars(points.flatten(0, 1).index_select(0, rows), rows.floor_divide(N), B, grid);
  out.source = rows.index_select(0, out.source);
  return out;
}

Tensor labelled_pillars(const Pillars& pillars, const Tensor& point_label) {
  const auto has = point_label.flatten().index_select(0, pillars.source).ge(0).to(torch::kLong);
  return torch::zeros_like(pillars.count).index_add_(0, pillars.of, has).gt(0);
}

}  // namespace lacuna::nn
