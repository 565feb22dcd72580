// Points into pillars with their centroids: ours beside plain PyTorch's operators (torch.unique of the cells,
// then index_add), in turns; medians in ms. The same sweep several times over is a batch.
//
// usage: voxel_bench SWEEP.bin [clouds] [runs] (cmake --build --preset release --target voxel_bench)

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <iostream>

#include "lacuna/core/torch.h"
#include "lacuna/io/point_files.h"
#include "lacuna/nn/voxels.h"
#include "lacuna/target/geometry.h"

namespace {

using torch::Tensor;

double milliseconds(const std::function<void()>& work) {
  const auto begun = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begun).count();
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

struct Cells {
  Tensor coords, of, count, centroid;
};

/// What a user of PyTorch would write. `by_number`: unique over one number a cell instead of over rows of
/// four.
Cells plain(const Tensor& points, const Tensor& cloud, const lacuna::nn::VoxelGrid& grid, bool by_number) {
  const auto size = torch::tensor({grid.size[0], grid.size[1], grid.size[2]}, torch::kFloat);
  const auto start = torch::tensor({grid.start[0], grid.start[1], grid.start[2]}, torch::kFloat);
  const auto cells = torch::tensor({grid.cells[0], grid.cells[1], grid.cells[2]}, torch::kLong);
  const auto xyz = points.slice(1, 0, 3);
  const auto cell = ((xyz.flip(1) - start) / size).floor().to(torch::kLong);
  const auto inside = cell.ge(0).logical_and(cell.lt(cells)).all(1).nonzero().squeeze(1);
  const auto rows = torch::cat({cloud.unsqueeze(1), cell}, 1).index_select(0, inside);
  Cells out;
  if (by_number) {
    const auto key =
        (rows.select(1, 0) * grid.cells[1] + rows.select(1, 2)) * grid.cells[2] + rows.select(1, 3);
    Tensor keys;
    std::tie(keys, out.of, out.count) = at::_unique2(key, true, true, true);
    const auto line = keys.floor_divide(grid.cells[2]);
    out.coords = torch::stack({line.floor_divide(grid.cells[1]), torch::zeros_like(keys),
                               line.remainder(grid.cells[1]), keys.remainder(grid.cells[2])},
                              1);
  } else {
    std::tie(out.coords, out.of, out.count) = at::unique_dim(rows, 0, true, true, true);
  }
  out.centroid = torch::zeros({out.count.numel(), 3})
                     .index_add_(0, out.of, xyz.index_select(0, inside))
                     .div_(out.count.unsqueeze(1));
  return out;
}

Cells ours(const Tensor& points, const Tensor& cloud, int64_t clouds, const lacuna::nn::VoxelGrid& grid) {
  const auto pillars = lacuna::nn::make_pillars(points, cloud, clouds, grid);
  return {pillars.coords, pillars.of, pillars.count,
          lacuna::target::pillar_centroids(pillars).flip(1).to(torch::kFloat)};
}

bool alike(const Cells& a, const Cells& b) {
  return a.coords.equal(b.coords) && a.of.equal(b.of) && a.count.equal(b.count) &&
         a.centroid.allclose(b.centroid, 1e-4, 1e-3);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: voxel_bench SWEEP.bin [clouds] [runs]\n";
    return 2;
  }
  const torch::NoGradGuard no_grad;
  const int64_t clouds = argc > 2 ? std::atoll(argv[2]) : 4;
  const int runs = argc > 3 ? std::atoi(argv[3]) : 21;
  auto sweep = lacuna::io::read_points(lacuna::io::MappedFile(argv[1]).bytes(), argv[1]);
  const auto one = torch::tensor(sweep.values).view({sweep.count(), -1});
  const auto points = one.repeat({clouds, 1});
  const auto cloud = torch::arange(clouds).repeat_interleave(sweep.count());
  const auto grid = lacuna::nn::pillar_grid({});
  const auto own = ours(points, cloud, clouds, grid);
  for (const bool by_number : {false, true})
    if (!alike(own, plain(points, cloud, grid, by_number))) {
      std::cerr << "voxel_bench: they do not agree\n";
      return 1;
    }
  std::vector<double> rows, numbers, mine;
  for (int i = 0; i < runs; ++i) {
    mine.push_back(milliseconds([&] { ours(points, cloud, clouds, grid); }));
    rows.push_back(milliseconds([&] { plain(points, cloud, grid, false); }));
    numbers.push_back(milliseconds([&] { plain(points, cloud, grid, true); }));
  }
  std::cout << clouds << " x " << sweep.count() << " points, " << own.count.numel() << " pillars, "
            << torch::get_num_threads() << " threads, medians of " << runs << ": ours " << median(mine)
            << " ms; torch.unique of rows " << median(rows) << " ms, " << median(rows) / median(mine)
            << " x; of one number a cell " << median(numbers) << " ms, " << median(numbers) / median(mine)
            << " x\n";
}
