// How well the geometry of hidden pillars is told: normals and centroids against the truth (GeoMAE,
// section 3.2).

#include <cmath>
#include <numbers>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/eval/clouds.h"

namespace lacuna::eval {
namespace {

// Where the second and third spread are nearer to each other than this share of the first, no normal is true.
constexpr double kClearGap = 1e-3;

/// Pillars whose normal is not arbitrary.
Tensor clear_rows(const GeoMAETarget& target) { return target.gap.gt(kClearGap).nonzero().squeeze(1); }

/// What is right on average over the hidden pillars of the training data.
struct Averages {
  Tensor normal = torch::zeros({3}, torch::kDouble);       ///< sum of normals
  Tensor axis = torch::zeros({3, 3}, torch::kDouble);      ///< sum of n n^T: their line, whatever their sign
  Tensor centroid = torch::zeros({3, 3}, torch::kDouble);  ///< of low, med and top parts, normalised: sums
  std::array<double, 3> parts{};                           ///< how many of each

  void add(const GeoMAETarget& target) {
    const auto n = target.normal.index_select(0, clear_rows(target)).cpu().to(torch::kDouble);
    normal += n.sum(0);
    axis += n.t().matmul(n);
    size_t scale = 0;
    for (const auto& centroids : {target.low.normalised(), target.med.normalised(), target.top}) {
      centroid[static_cast<int64_t>(scale)] += centroids.cpu().to(torch::kDouble).sum(0);
      parts[scale++] += static_cast<double>(centroids.size(0));
    }
  }
  Tensor mean_normal() const { return (normal / normal.norm().clamp_min(1e-12)).to(torch::kFloat); }
  Tensor mean_axis() const {
    return target::symmetric_eigen(axis.unsqueeze(0)).vectors[0].select(1, 0).to(torch::kFloat);
  }
  /// Of one scale. [1, 3].
  Tensor mean_centroid(int64_t scale) const {
    return (centroid[scale] / std::max(1.0, parts[static_cast<size_t>(scale)]))
        .to(torch::kFloat)
        .unsqueeze(0);
  }
};

/// Sum and count of errors.
struct MeanError {
  double sum = 0, count = 0;
  void add(const Tensor& errors) {
    sum += errors.to(torch::kDouble).sum().item<double>();
    count += static_cast<double>(errors.numel());
  }
  double mean() const { return sum / std::max(1.0, count); }
};

/// Degrees between vectors of any length and unit vectors. `unsigned_`: between their lines.
Tensor angles(const Tensor& said, const Tensor& truth, bool unsigned_) {
  auto cosine = (said * truth).sum(1) / said.norm(2, 1).clamp_min(1e-12);
  if (unsigned_) cosine = cosine.abs();
  return cosine.clamp(-1, 1).acos() * (180 / std::numbers::pi);
}

/// Metres between normalised centroids [N, 3] of parts of `grid`.
Tensor distances(const Tensor& said, const Tensor& truth, const nn::VoxelGrid& grid) {
  const auto size = torch::tensor({grid.size[0], grid.size[1], grid.size[2]}, torch::kDouble);
  return ((said - truth).cpu().to(torch::kDouble) * size).norm(2, 1);
}

/// Of a prediction and of the averages, by the names of the metrics.
using Errors = std::map<std::string, MeanError>;

void add_normals(const GeoMAEPrediction& said, const GeoMAETarget& truth, const Averages& averages,
                 Errors& to) {
  const auto rows = clear_rows(truth);
  const auto wanted = truth.normal.index_select(0, rows).cpu();
  const auto own = said.normal.index_select(0, rows).cpu();
  to["angle"].add(angles(own, wanted, false));
  to["angle_sign_free"].add(angles(own, wanted, true));
  to["mean_normal_angle"].add(angles(averages.mean_normal().unsqueeze(0), wanted, false));
  to["mean_normal_angle_sign_free"].add(angles(averages.mean_axis().unsqueeze(0), wanted, true));
}

void add_centroids(const GeoMAEPrediction& said, const GeoMAETarget& truth, const nn::Pillars& clouds,
                   const Averages& averages, Errors& to) {
  const auto add = [&](const std::string& name, int64_t scale, const Tensor& own, const Tensor& wanted,
                       const nn::VoxelGrid& grid) {
    to["centroid_" + name].add(distances(own, wanted, grid));
    to["mean_centroid_" + name].add(distances(averages.mean_centroid(scale), wanted.cpu(), grid));
  };
  const auto parts = [&](const std::string& name, int64_t scale, const Tensor& own,
                         const target::SubVoxels& wanted) {
    add(name, scale, own.flatten(0, 1).index_select(0, wanted.place), wanted.normalised(), wanted.grid);
  };
  parts("low", 0, said.low, truth.low);
  parts("med", 1, said.med, truth.med);
  add("top", 2, said.top, truth.top, clouds.grid);
}

/// Calls use(pillars, mask, targets of the hidden ones) for each batch.
template <class Use>
void read_hidden(const Request& request, const std::shared_ptr<data::Dataset>& dataset, Use use) {
  auto& method = pillar_method(request.model, "geometry");
  read_clouds(request.model, dataset, request.config, [&](const Batch& batch) {
    SeededDraws draws(static_cast<uint64_t>(request.config.seed), 0, batch.sample);
    const auto clouds = method.pillars(batch);
    const auto drawn = method.draw_mask(batch, clouds, draws);
    if (drawn.hide.numel() > 0) use(clouds, drawn, method.targets(clouds, drawn.hide));
  });
}

Result geometry(const Request& request) {
  auto& method = pillar_method(request.model, "geometry");
  Averages averages;
  read_hidden(request, request.train,
              [&](const nn::Pillars& /*clouds*/, const mask::PillarMask& /*drawn*/,
                  const GeoMAETarget& target) { averages.add(target); });
  Errors errors;
  int64_t hidden = 0;
  read_hidden(request, request.test,
              [&](const nn::Pillars& clouds, const mask::PillarMask& drawn, const GeoMAETarget& target) {
                const auto said = method.predict(clouds, drawn);
                hidden += drawn.hide.numel();
                add_normals(said, target, averages, errors);
                add_centroids(said, target, clouds, averages, errors);
              });
  if (hidden == 0)
    fail(request.test->uri(), "has no pillar that could be hidden", "give clouds inside of voxel.range");
  Result result;
  for (const auto& [name, error] : errors) result.metrics[name] = error.mean();
  const auto& config = method.config();
  result.settings = {
      {"hidden_pillars", hidden},
      {"clear_normals", errors["angle"].count},
      {"mask_ratio", config.mask.ratio},
      {"normal_sign", config.target.normal_sign},
      {"train_size", request.train->size()},
      {"test_size", request.test->size()},
      {"note",
       "angles in degrees, of pillars whose normal is not arbitrary; centroids: metres; mean_*: "
       "whoever always says the mean of the hidden pillars of --data"}};
  return result;
}

const Register<Protocol> registered{
    "geometry",
    {.summary =
         "hidden pillars: angle of predicted normals and error of centroids beside the mean's (GeoMAE)",
     .run = geometry,
     .labels = false}};

}  // namespace
}  // namespace lacuna::eval
