// Golden cases of GeoMAE: a step of pre-training; targets, windows and the learning rate's course.

#include <algorithm>
#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/method/geomae.h"
#include "lacuna/method/golden.h"
#include "lacuna/train/schedule.h"

namespace lacuna::eval {
namespace {

// Card key -> our key. What follows from other keys is dropped.
const std::vector<std::pair<std::string, std::string>> kRenames = {
    {"voxel.voxel_size", "voxel.size"},
    {"voxel.point_cloud_range", "voxel.range"},
    {"voxel.sub_voxel_ratio_low", "voxel.low"},
    {"voxel.sub_voxel_ratio_med", "voxel.med"},
    {"voxel.sub_voxel_size_low", ""},
    {"voxel.sub_voxel_size_med", ""},
    {"voxel.grid_size", ""},
    {"voxel_encoder.in_channels", "encoder.in_chans"},
    {"voxel_encoder.feat_channels", "encoder.point_channels"},
    {"voxel_encoder.norm_eps", "encoder.norm_eps"},
    {"voxel_encoder.norm_momentum", "encoder.norm_momentum"},
    {"voxel_encoder.mode", "encoder.pool"},
    {"encoder.d_model", "encoder.embed_dim"},
    {"encoder.nhead", "encoder.num_heads"},
    {"encoder.dim_feedforward", "encoder.mlp_dim"},
    {"encoder.encoder_num_blocks", "encoder.depth"},
    {"encoder.decoder_num_blocks", "decoder.depth"},
    {"encoder.window_shape", "encoder.window"},
    {"mask.random_mask_ratio", "mask.ratio"},
    {"loss.loss_ratio_low", "loss.centroid_low"},
    {"loss.loss_ratio_med", "loss.centroid_med"},
    {"loss.loss_ratio_top", "loss.centroid_top"},
    {"loss.loss_ratio_low_nor", "loss.normal"},
    {"loss.cls_loss_ratio_low", "loss.occupied_low"},
    {"loss.cls_loss_ratio_med", "loss.occupied_med"}};

/// drop_info, a table by level number, as levels in the order of their ranges.
std::vector<nn::WindowLevel> drop_levels(const Json& drop_info) {
  std::vector<nn::WindowLevel> out;
  for (const auto& [number, level] : drop_info.items())
    out.push_back({level.at("max_tokens").get<int64_t>(), level.at("drop_range").at(0).get<int64_t>(),
                   level.at("drop_range").at(1).get<int64_t>()});
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.from < b.from; });
  return out;
}

GeoMAEConfig config_of(const GoldenCase& golden, bool with_levels) {
  Json source = golden.config;
  const auto levels = drop_levels(source.at("encoder").at("drop_info"));
  source["encoder"].erase("drop_info");
  source.erase("lr");
  Json document = rename_keys(source, kRenames);
  for (const auto& level : with_levels ? levels : std::vector<nn::WindowLevel>{}) {
    document["encoder"]["level_tokens"].push_back(level.tokens);
    document["encoder"]["level_below"].push_back(level.below);
  }
  if (!document["encoder"].contains("point_channels"))
    document["encoder"]["point_channels"] = {document["encoder"]["embed_dim"]};
  GeoMAEConfig config;
  config.resolve(table_of(config, document));
  return config;
}

nn::Pillars pillars_of(const GoldenCase& golden, const GeoMAEConfig& config) {
  const auto& batch = golden.input("batch_index");
  return nn::make_pillars(golden.input("points"), batch, batch.max().item<int64_t>() + 1,
                          nn::pillar_grid(config.voxel));
}

/// A normal is known up to its sign, and not at all where the two smallest spreads are alike: rows are given
/// the sign of the recorded ones, and the recorded rows where the gap says that nothing is known.
Tensor comparable(const Tensor& normal, const Tensor& gap, const Tensor& recorded) {
  constexpr double kKnown = 1e-3;  // the case's notes
  const auto turned = torch::where((normal * recorded).sum(1, true).lt(0), -normal, normal);
  return torch::where(gap.gt(kKnown).unsqueeze(1), turned, recorded);
}

target::Surface add_surface(const GoldenCase& golden, const GeoMAEConfig& config, const nn::Pillars& pillars,
                            io::Tensors& out) {
  const auto med = target::sub_voxels(pillars, config.voxel.med);
  const auto all = torch::arange(pillars.size(), torch::kLong);
  auto surface = target::surfaces(pillars, med, all);
  const auto recorded = golden.outputs.find("normal");
  out["normal"] = recorded == golden.outputs.end()
                      ? surface.normal
                      : comparable(surface.normal, surface.gap, recorded->second);
  out["normal_gap"] = surface.gap;
  out["curvature"] = surface.curvature;
  out["voxel_coors"] = pillars.coords;
  return surface;
}

/// Occupied parts of all pillars in the official order: cloud, then the parts' own z, y, x.
void add_parts(const nn::Pillars& pillars, const target::SubVoxels& parts, const std::string& scale,
               io::Tensors& out) {
  const auto cloud = pillars.coords.select(1, 0).index_select(0, parts.place.floor_divide(parts.parts));
  const auto coords = torch::cat({cloud.unsqueeze(1), parts.cell}, 1);  // [O, 4]
  const auto& cells = parts.grid.cells;
  const auto key =
      ((cloud * cells[0] + parts.cell.select(1, 0)) * cells[1] + parts.cell.select(1, 1)) * cells[2] +
      parts.cell.select(1, 2);
  const auto order = key.argsort();
  out["coors_" + scale] = coords.index_select(0, order);
  out["centroids_" + scale] = parts.normalised().index_select(0, order);
  out["points_per_" + scale] = parts.count.index_select(0, order);
}

io::Tensors pretrain(const GoldenCase& golden) {
  const auto config = config_of(golden, /*with_levels=*/true);
  SeededDraws unused(0);
  GeoMAE method(config, unused);
  load_weights(method, golden.weights, "weights.safetensors");
  method.train();
  const auto clouds = pillars_of(golden, config);
  io::Tensors out;
  add_surface(golden, config, clouds, out);
  add_parts(clouds, target::sub_voxels(clouds, config.voxel.low), "low", out);
  add_parts(clouds, target::sub_voxels(clouds, config.voxel.med), "med", out);
  out["centroids_top"] = target::normalised_centroids(clouds);

  RecordedDraws draws({{"mask", mask::numbers_of_permutation(golden.input("perm"))}});
  const auto drawn = mask::mask_pillars(config.mask, clouds.per_cloud(), {}, draws);
  out["ids_keep"] = drawn.keep, out["ids_mask"] = drawn.hide;
  const auto features = method.pillar_features(clouds);
  const auto visible = clouds.coords.index_select(0, drawn.keep);
  const auto hidden = clouds.coords.index_select(0, drawn.hide);
  const auto encoded = method.backbone().encode(features.index_select(0, drawn.keep), visible);
  const auto predicted = method.backbone().decode(encoded, visible, hidden);
  out["voxel_features"] = features.detach();
  out["latent"] = encoded.detach();

  auto wanted = method.targets(clouds, drawn.hide);
  wanted.normal = golden.input("normal_target");
  const int64_t H = hidden.size(0);
  out["target_low_mask"] = wanted.low.occupied(H);
  out["target_med_mask"] = wanted.med.occupied(H);
  out["target_med"] = torch::zeros({H * wanted.med.parts, 3})
                          .index_copy_(0, wanted.med.place, wanted.med.normalised())
                          .view({H, wanted.med.parts, 3});
  constexpr int64_t kRecordedRows = 8;  // of the fine centroids
  out["pred_reg_low"] = predicted.low.slice(0, 0, kRecordedRows).detach();
  out["pred_reg_med"] = predicted.med.detach(), out["pred_reg_top"] = predicted.top.detach();
  out["pred_cls_low"] = predicted.occupied_low.detach();
  out["pred_cls_med"] = predicted.occupied_med.detach();
  out["pred_normal"] = predicted.normal.detach();

  const auto loss = method.loss(predicted, wanted);
  loss.total.backward();
  out["loss"] = loss.total.detach();
  for (const auto& [name, part] : loss.parts) out["loss." + name] = part.detach();
  add_gradients(method, out);
  return out;
}

/// mmcv's CyclicLrUpdaterHook, as train.schedule = cyclic has it.
Tensor cyclic_rates(const Json& lr, const Tensor& steps) {
  const double base = lr.at("lr").get<double>();
  const double total = lr.at("max_iters").get<double>();
  const double cycle = std::floor(total / lr.at("cyclic_times").get<double>());
  const train::IterationSchedule schedule{.type = "cyclic",
                                          .steps = cycle,
                                          .warmup = std::floor(lr.at("step_ratio_up").get<double>() * cycle),
                                          .min_lr = base * lr.at("target_ratio").at(1).get<double>(),
                                          .warmup_lr = base};
  auto out = torch::empty({steps.numel()}, torch::kFloat);
  for (int64_t i = 0; i < steps.numel(); ++i)
    out[i] = schedule.at(steps[i].item<double>(), base * lr.at("target_ratio").at(0).get<double>());
  return out;
}

io::Tensors targets_and_windows(const GoldenCase& golden) {
  const auto config = config_of(golden, /*with_levels=*/false);
  const auto levels = drop_levels(golden.config.at("encoder").at("drop_info"));
  const auto sst = config.sst();
  const auto clouds = pillars_of(golden, config);
  io::Tensors out;
  add_surface(golden, config, clouds, out);
  out["centroids_top"] = target::pillar_centroids(clouds);  // in metres here

  const std::vector<nn::WindowLayout> layouts{nn::window_layout(clouds.coords, sst.window, false),
                                              nn::window_layout(clouds.coords, sst.window, true)};
  const auto kept = nn::kept_tokens(layouts, levels);
  out["voxel_keep_inds"] = kept;
  const auto kept_levels = nn::kept_levels(layouts, levels);
  for (size_t shift = 0; shift < layouts.size(); ++shift) {
    const auto window = layouts[shift].window.index_select(0, kept);
    const auto in_window = layouts[shift].in_window.index_select(0, kept);
    const auto& level = kept_levels[shift];
    out[str("batch_win_inds_shift", shift)] = window;
    out[str("coors_in_win_shift", shift)] = in_window;
    out[str("drop_level_shift", shift)] = level;
    out[str("pos_embed_shift", shift)] =
        nn::window_positions(in_window, sst.window, sst.dim, sst.temperature, sst.normalize_pos);
    for (size_t i = 0; i < levels.size(); ++i) {
      const auto of_level = window.index_select(0, level.eq(static_cast<int64_t>(i)).nonzero().squeeze(1));
      out[str("window_tokens_shift", shift, "_level", i)] =
          std::get<2>(at::_unique2(of_level, true, true, true));
    }
  }
  out["lr"] = cyclic_rates(golden.config.at("lr"), golden.input("lr_steps"));
  return out;
}

const Register<GoldenKind> kPretrain{"geomae/pretrain-step", {pretrain}};
const Register<GoldenKind> kTargets{"geomae/targets-and-windows", {targets_and_windows}};

}  // namespace
}  // namespace lacuna::eval
