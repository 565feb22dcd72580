#include "lacuna/target/geometry.h"

#include <array>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna::target {

namespace {

constexpr double kEps = 1e-9;  // of the curvature's shares
constexpr int kSweeps = 8;     // of Jacobi: converges quadratically, in double after five

Tensor row_of(const std::array<double, 3>& values, const Tensor& like) {
  return torch::tensor({values[0], values[1], values[2]}, torch::kDouble).to(like.device());
}

/// [P, 3] double: z, y, x.
Tensor zyx_of(const nn::Pillars& pillars) { return pillars.points.slice(1, 0, 3).to(torch::kDouble).flip(1); }

/// In units of the cells (of `grid`) that they lie in.
Tensor inside_cell(const Tensor& centroid, const Tensor& cell, const nn::VoxelGrid& grid) {
  return ((centroid - row_of(grid.start, centroid)) / row_of(grid.size, centroid) - cell).to(torch::kFloat);
}

}  // namespace

Tensor SubVoxels::normalised() const { return inside_cell(centroid, cell, grid); }

Tensor SubVoxels::occupied(int64_t pillars) const {
  return torch::zeros({pillars * parts}, place.options().dtype(torch::kBool))
      .index_fill_(0, place, true)
      .view({pillars, parts});
}

Tensor part_cells(const Tensor& pillar, const Tensor& part, const std::vector<int64_t>& parts) {
  const int64_t ry = parts[1], rx = parts[2];
  const auto inner =
      torch::stack({part.floor_divide(ry * rx), part.floor_divide(rx).remainder(ry), part.remainder(rx)}, 1);
  return pillar * torch::tensor({parts[0], ry, rx}, torch::kLong).to(part.device()) + inner;
}

SubVoxels sub_voxels(const nn::Pillars& pillars, const std::vector<int64_t>& parts, const Tensor& rows) {
  const int64_t rz = parts[0], ry = parts[1], rx = parts[2];
  SubVoxels out{.parts = rz * ry * rx, .grid = nn::cut_grid(pillars.grid, parts)};
  const auto cell = nn::voxel_coordinates(pillars.points, out.grid);  // [P, 3]
  const auto z = cell.select(1, 0), y = cell.select(1, 1), x = cell.select(1, 2);
  // A part is its pillar's by its own place: by rounding that may be the neighbour of the point's pillar.
  const auto above = (pillars.batch * pillars.grid.cells[1] + y.floor_divide(ry)) * pillars.grid.cells[2] +
                     x.floor_divide(rx);
  auto pillar = pillars.table.index_select(0, above.clamp_min(0));
  int64_t numbered = pillars.size();
  if (rows.defined()) {
    const auto number =
        torch::full_like(pillars.count, -1).index_copy_(0, rows, torch::arange(rows.size(0), rows.options()));
    pillar = torch::where(pillar.ge(0), number.index_select(0, pillar.clamp_min(0)), pillar);
    numbered = rows.size(0);
  }
  const auto part = (z.remainder(rz) * ry + y.remainder(ry)) * rx + x.remainder(rx);
  const auto key = torch::where(z.ge(0).logical_and(pillar.ge(0)), pillar * out.parts + part,
                                torch::full_like(pillar, -1));
  const auto groups = nn::group_by_key(key, numbered * out.parts);
  out.place = groups.keys;
  out.count = groups.count;

  const auto inside = groups.of.ge(0).nonzero().squeeze(1);
  const auto of = groups.of.index_select(0, inside);
  const auto zyx = zyx_of(pillars).index_select(0, inside);
  out.centroid = nn::group_sums(zyx, of, groups.keys.size(0)) / out.count.unsqueeze(1);
  const auto home = rows.defined() ? pillars.coords.index_select(0, rows) : pillars.coords;
  const auto corner = home.slice(1, 1).index_select(0, out.place.floor_divide(out.parts));  // [O, 3]
  out.cell = part_cells(corner, out.place.remainder(out.parts), parts);
  return out;
}

Tensor pillar_centroids(const nn::Pillars& pillars) {
  return nn::group_sums(zyx_of(pillars), pillars.of, pillars.size()) / pillars.count.unsqueeze(1);
}

Tensor normalised_centroids(const nn::Pillars& pillars) {
  return inside_cell(pillar_centroids(pillars), pillars.coords.slice(1, 1), pillars.grid);
}

namespace {

/// Number, sum and sum of squares of each pillar's centroids, relative to `middle`: [V, 13].
Tensor moments(const SubVoxels& med, int64_t pillars, const Tensor& middle) {
  const auto d = med.centroid - middle;  // [O, 3]
  const auto squares = (d.unsqueeze(2) * d.unsqueeze(1)).flatten(1);
  return nn::group_sums(torch::cat({torch::ones_like(d.slice(1, 0, 1)), d, squares}, 1),
                        med.place.floor_divide(med.parts), pillars);
}

/// Sum of `values` [V, D] over the pillars `rows` and their neighbours -> [H, D].
Tensor around(const nn::Pillars& pillars, const Tensor& values, const Tensor& rows) {
  const int64_t Y = pillars.grid.cells[1], X = pillars.grid.cells[2];
  const auto at = pillars.coords.index_select(0, rows);
  auto sum = torch::zeros({rows.size(0), values.size(1)}, values.options());
  for (int64_t dy = -1; dy <= 1; ++dy)
    for (int64_t dx = -1; dx <= 1; ++dx) {
      const auto y = at.select(1, 2) + dy, x = at.select(1, 3) + dx;
      const auto off_grid = y.lt(0).logical_or_(y.ge(Y)).logical_or_(x.lt(0)).logical_or_(x.ge(X));
      const auto place = ((at.select(1, 0) * Y + y) * X + x).masked_fill(off_grid, 0);
      const auto found = pillars.table.index_select(0, place).masked_fill(off_grid, -1);
      const auto there = found.ge(0).nonzero().squeeze(1);
      sum.index_add_(0, there, values.index_select(0, found.index_select(0, there)));
    }
  return sum;
}

}  // namespace

Surface surfaces(const nn::Pillars& pillars, const SubVoxels& med, const Tensor& rows) {
  const torch::NoGradGuard no_grad;
  const auto& grid = pillars.grid;
  std::array<double, 3> middle{};
  for (size_t axis = 0; axis < 3; ++axis)
    middle[axis] = grid.start[axis] + 0.5 * grid.size[axis] * static_cast<double>(grid.cells[axis]);
  const auto origin = row_of(middle, med.centroid);
  const auto sums = around(pillars, moments(med, pillars.size(), origin), rows);  // [H, 13]
  const auto own = pillar_centroids(pillars).index_select(0, rows) - origin;      // [H, 3]
  const auto first = sums.slice(1, 1, 4), n = sums.slice(1, 0, 1).unsqueeze(2);
  const auto outer = [](const Tensor& a, const Tensor& b) { return a.unsqueeze(2) * b.unsqueeze(1); };
  const auto spread =
      sums.slice(1, 4).view({-1, 3, 3}) - outer(first, own) - outer(own, first) + n * outer(own, own);
  const auto eigen = symmetric_eigen(spread);
  const auto values = eigen.values.clamp_min(0);
  const auto shares = values + kEps;
  const auto gap = (values.select(1, 1) - values.select(1, 2)) / values.select(1, 0).clamp_min(1e-30);
  return {eigen.vectors.select(2, 2).to(torch::kFloat),
          (shares / shares.sum(1, /*keepdim=*/true)).to(torch::kFloat), gap.to(torch::kFloat)};
}

Tensor oriented(const Tensor& normal, const Tensor& at, const std::string& rule) {
  if (rule == "as-is") return normal;
  const auto wrong = rule == "up" ? normal.select(1, 0).lt(0) : (normal * at.to(normal)).sum(1).gt(0);
  return torch::where(wrong.unsqueeze(1), -normal, normal);
}

Eigen3 symmetric_eigen(const Tensor& matrices) {
  const auto a = matrices.clone();
  const auto v = torch::eye(3, a.options()).expand_as(a).clone();
  constexpr std::pair<int64_t, int64_t> kPairs[] = {{0, 1}, {0, 2}, {1, 2}};
  for (int sweep = 0; sweep < kSweeps; ++sweep)
    for (const auto& [p, q] : kPairs) {
      const auto app = a.select(1, p).select(1, p), aqq = a.select(1, q).select(1, q);
      const auto apq = a.select(1, p).select(1, q);
      const auto tau = (aqq - app) / (2 * apq);
      const auto size = (tau.abs() + (tau.square() + 1).sqrt()).reciprocal();
      const auto t = torch::where(tau.ge(0), size, -size).masked_fill(apq.eq(0), 0);
      const auto c = (t.square() + 1).rsqrt().unsqueeze(1), s = t.unsqueeze(1) * c;
      const auto turn = [p = p, q = q, &c, &s](const Tensor& m) {  // columns p and q
        const auto mp = m.select(2, p).clone(), mq = m.select(2, q).clone();
        m.select(2, p).copy_(c * mp - s * mq);
        m.select(2, q).copy_(s * mp + c * mq);
      };
      turn(a);
      turn(a.transpose(1, 2));
      turn(v);
    }
  const auto [values, order] = a.diagonal(0, 1, 2).sort(1, /*descending=*/true);
  return {values, v.gather(2, order.unsqueeze(1).expand_as(v))};
}

}  // namespace lacuna::target
