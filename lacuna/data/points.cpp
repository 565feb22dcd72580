#include "lacuna/data/points.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "lacuna/core/error.h"

namespace lacuna::data {

namespace {

/// Clouds of unlike length side by side: rows behind a cloud's end are 0, labels -1.
class PointsFilling final : public Filling {
 public:
  PointsFilling(const PointsTransform& transform, int64_t rows)
      : transform_(transform), rows_(static_cast<size_t>(rows)) {}
  void fill(int64_t row, const Record& record, Stream random) override {
    rows_[static_cast<size_t>(row)] = transform_(record, random);
  }
  Batch finish(const std::vector<int64_t>& rows) override {
    Batch batch;
    if (rows.empty()) return batch;
    const auto cloud = [&](int64_t row) -> const PointsTransform::Cloud& {
      return rows_[static_cast<size_t>(row)];
    };
    int64_t longest = 1;
    bool labels = false;
    for (const int64_t row : rows) {
      longest = std::max(longest, cloud(row).points.size(0));
      labels = labels || cloud(row).label.defined();
    }
    const int64_t B = std::ssize(rows);
    batch.points = at::zeros({B, longest, cloud(rows.front()).points.size(1)});
    batch.point_count = at::empty({B}, at::kLong);
    if (labels) batch.point_label = at::full({B, longest}, -1, at::kLong);
    for (int64_t b = 0; b < B; ++b) {
      const auto& one = cloud(rows[static_cast<size_t>(b)]);
      const int64_t n = one.points.size(0);
      batch.point_count[b] = n;
      batch.points[b].slice(0, 0, n).copy_(one.points);
      if (one.label.defined()) batch.point_label[b].slice(0, 0, n).copy_(one.label);
    }
    return batch;
  }

 private:
  const PointsTransform& transform_;
  std::vector<PointsTransform::Cloud> rows_;
};

/// Columns of the kept fields.
at::Tensor kept_columns(const io::Points& cloud, const std::vector<std::string>& kept,
                        const std::string& key) {
  const auto all = at::from_blob(const_cast<float*>(cloud.values.data()),
                                 {cloud.count(), std::ssize(cloud.fields)}, at::kFloat);
  if (kept == cloud.fields) return all.clone();
  std::vector<int64_t> columns;
  for (const auto& field : kept) {
    const auto found = std::find(cloud.fields.begin(), cloud.fields.end(), field);
    if (found == cloud.fields.end())
      fail(key, str("its points have no '", field, "' (they have ", join(cloud.fields), ")"),
           "keep clouds of one kind together, or choose fields by points.fields_kept");
    columns.push_back(std::distance(cloud.fields.begin(), found));
  }
  return all.index_select(1, at::tensor(columns, at::kLong));
}

/// A rotation drawn evenly over all (Shoemake's random unit quaternion).
at::Tensor any_rotation(Stream& random) {
  std::array<double, 4> q{};
  double norm = 0;
  for (double& value : q) {
    value = random.normal();
    norm += value * value;
  }
  for (double& value : q) value /= std::sqrt(std::max(norm, 1e-30));
  const auto [w, x, y, z] = q;
  return at::tensor({1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y), 2 * (x * y + w * z),
                     1 - 2 * (x * x + z * z), 2 * (y * z - w * x), 2 * (x * z - w * y), 2 * (y * z + w * x),
                     1 - 2 * (x * x + y * y)},
                    at::kDouble)
      .view({3, 3});
}

at::Tensor upright_rotation(double angle) {
  const double c = std::cos(angle), s = std::sin(angle);
  return at::tensor({c, -s, 0.0, s, c, 0.0, 0.0, 0.0, 1.0}, at::kDouble).view({3, 3});
}

/// Which rows stay, in which order.
at::Tensor chosen_rows(int64_t count, int64_t max, bool evaluating, Stream& random) {
  const int64_t kept = max > 0 ? std::min(max, count) : count;
  if (evaluating)
    return kept == count ? at::Tensor() : at::arange(kept, at::kLong).mul(count).floor_divide(kept);
  const auto order = random.permutation(count);
  return at::tensor(at::ArrayRef<int64_t>(order.data(), static_cast<size_t>(kept)), at::kLong);
}

}  // namespace

void PointsConfig::fields(Fields& f) {
  f("fields_kept", fields_kept, "numbers of a point that are read, x, y, z first; filled from the data");
  f("max", max, "most points of a cloud, a random choice in training; 0: all").range(0);
  f("rotate", rotate, "largest turn about the upright axis, in radians").range(0, 3.15);
  f("axis", axis, "z: turns about the upright axis; any: clouds without an upright axis, any rotation")
      .choices({"z", "any"});
  f("scale", scale, "lowest and highest factor on the coordinates").range(1e-3, 1e3);
  f("flip_x", flip_x, "probability that x is mirrored").range(0, 1);
  f("flip_y", flip_y, "probability that y is mirrored").range(0, 1);
  f("jitter", jitter, "deviation of the noise on each coordinate, in metres").range(0);
}

void PointsConfig::check() const {
  if (scale.size() != 2 || scale[0] > scale[1])
    fail("points.scale", "has two numbers, the lower one first", "write it as [0.95, 1.05]");
  if (!fields_kept.empty() &&
      (fields_kept.size() < 3 || fields_kept[0] != "x" || fields_kept[1] != "y" || fields_kept[2] != "z"))
    fail("points.fields_kept", "must begin with x, y, z", "name the coordinates first");
}

std::unique_ptr<Filling> PointsTransform::begin(int64_t rows) const {
  return std::make_unique<PointsFilling>(*this, rows);
}

std::shared_ptr<const Transform> PointsTransform::evaluating() const {
  auto out = std::make_shared<PointsTransform>(config_);
  out->evaluating_ = true;
  return out;
}

PointsTransform::Cloud PointsTransform::operator()(const Record& record, Stream random) const {
  const auto cloud = decode_points(record);
  auto points =
      kept_columns(cloud, config_.fields_kept.empty() ? cloud.fields : config_.fields_kept, record.key);
  at::Tensor label;
  if (!cloud.labels.empty()) label = at::tensor(cloud.labels, at::kInt).to(at::kLong);
  const auto keep = [&](const at::Tensor& rows) {
    points = points.index_select(0, rows);
    if (label.defined()) label = label.index_select(0, rows);
  };
  const auto finite = points.isfinite().all(1);
  if (!finite.all().item<bool>()) keep(finite.nonzero().squeeze(1));
  const auto rows = chosen_rows(points.size(0), config_.max, evaluating_, random);
  if (rows.defined()) keep(rows);
  if (evaluating_) return {points, label};
  const auto turn = config_.axis == "any" ? any_rotation(random)
                                          : upright_rotation(random.uniform(-config_.rotate, config_.rotate));
  const double scale = random.uniform(config_.scale[0], config_.scale[1]);
  auto xyz = at::matmul(points.slice(1, 0, 3), turn.t().mul(scale).to(at::kFloat));
  if (random.uniform() < config_.flip_x) xyz.select(1, 0).neg_();
  if (random.uniform() < config_.flip_y) xyz.select(1, 1).neg_();
  if (config_.jitter > 0) {
    auto* value = xyz.mutable_data_ptr<float>();
    for (int64_t i = 0; i < xyz.numel(); ++i)
      value[i] += static_cast<float>(config_.jitter * random.normal());
  }
  points.slice(1, 0, 3).copy_(xyz);
  return {points, label};
}

bool is_points_extension(std::string extension) {
  if (extension.starts_with(".")) extension.erase(0, 1);
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return extension == "bin" || extension == "ply" || extension == "npy" || extension == "npz" ||
         extension == "off";
}

}  // namespace lacuna::data
