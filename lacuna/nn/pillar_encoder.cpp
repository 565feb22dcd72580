#include "lacuna/nn/pillar_encoder.h"

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/init.h"

namespace lacuna::nn {

Tensor decorate_points(const Pillars& pillars) {
  const auto& points = pillars.points;
  const auto xyz = points.slice(1, 0, 3);
  const auto mean = (group_sums(xyz.to(torch::kDouble), pillars.of, pillars.size()) /
                     pillars.count.unsqueeze(1).to(torch::kDouble))
                        .to(torch::kFloat)
                        .index_select(0, pillars.of);
  const auto& grid = pillars.grid;
  const auto cell = pillars.coords.index_select(0, pillars.of);  // [P, 4]: cloud, z, y, x
  std::vector<Tensor> columns{points, xyz - mean};
  for (int64_t axis = 0; axis < 3; ++axis) {
    const auto from = static_cast<size_t>(2 - axis);  // x, y, z of what is ordered z, y, x
    const auto centre = cell.select(1, 3 - axis).to(torch::kFloat) * grid.size[from] +
                        (grid.size[from] / 2 + grid.start[from]);
    columns.push_back((xyz.select(1, axis) - centre).unsqueeze(1));
  }
  return torch::cat(columns, 1);
}

PillarEncoder::PillarEncoder(const PillarEncoderConfig& config) : config_(config) {
  LACUNA_ASSERT(!config.channels.empty());
  const auto list = register_module("vfe_layers", std::make_shared<torch::nn::Module>());
  int64_t in = config.in_chans + 6;
  for (const int64_t out : config.channels) {
    const auto layer = list->register_module(str(layers_.size()), std::make_shared<torch::nn::Module>());
    layers_.push_back({layer->register_module("linear", std::make_shared<Linear>(in, out, false)),
                       layer->register_module(
                           "norm", std::make_shared<BatchNorm>(out, config.norm_eps, config.norm_momentum))});
    in = 2 * out;
  }
}

void PillarEncoder::initialize(Draws& draws, const std::string& prefix) {
  for (size_t i = 0; i < layers_.size(); ++i)
    default_conv_init_(layers_[i].linear->weight, {}, draws, str(prefix, "vfe_layers.", i, ".linear"));
}

Tensor PillarEncoder::pool(const Tensor& points, const Pillars& pillars) const {
  const auto index = pillars.of.unsqueeze(1).expand_as(points);
  return torch::zeros({pillars.size(), points.size(1)}, points.options())
      .scatter_reduce(0, index, points, config_.pool == "max" ? "amax" : "mean", /*include_self=*/false);
}

Tensor PillarEncoder::forward(const Pillars& pillars) {
  auto x = decorate_points(pillars);
  const bool alone = is_training() && x.size(0) < 2 && !layers_.front().norm->sum;
  Tensor pooled;
  for (size_t i = 0; i < layers_.size(); ++i) {
    auto& [linear, norm] = layers_[i];
    const auto projected = linear->forward(x);
    if (alone) norm->eval();
    const auto own = torch::relu(norm->forward(projected));  // [P, C]
    if (alone) norm->train();
    pooled = pool(own, pillars);  // [V, C]
    if (i + 1 < layers_.size()) x = torch::cat({own, pooled.index_select(0, pillars.of)}, 1);
  }
  return pooled;
}

}  // namespace lacuna::nn
