#include "lacuna/method/geomae.h"

#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/autocast.h"
#include "lacuna/nn/init.h"

namespace lacuna {

void GeoMAEEncoderConfig::fields(Fields& f) {
  f("in_chans", in_chans, "fields of a point: x, y, z first; taken from the data").range(3, 64);
  f("point_channels", point_channels, "widths of the layers that read points; the last one is embed_dim")
      .range(1, 65536);
  f("pool", pool, "what a pillar takes of its points").choices({"max", "avg"});
  f("norm_eps", norm_eps, "of the points' batch norms").range(0);
  f("norm_momentum", norm_momentum, "of the points' batch norms").range(0, 1);
  f("embed_dim", embed_dim, "width, a multiple of 4").range(4);
  f("depth", depth, "blocks of two layers: windows as they lie, and shifted by half").range(1);
  f("num_heads", num_heads, "attention heads").range(1);
  f("mlp_dim", mlp_dim, "width inside the feed-forward layers").range(1);
  f("activation", activation, "of the feed-forward layers").choices({"gelu", "relu"});
  f("window", window, "pillars of a window along x and y").range(1, 4096);
  f("pos_temperature", pos_temperature, "of the slowest wave of the positions").range(1);
  f("normalize_pos", normalize_pos, "positions in half turns of the window instead of in pillars");
  f("level_tokens", level_tokens,
    "places of the windows of each level; empty: windows of equally many pillars together, nothing padded")
      .range(1);
  f("level_below", level_below, "a level holds windows of fewer pillars than this").range(1);
}

void GeoMAEDecoderConfig::fields(Fields& f) {
  f("depth", depth, "blocks of each of the two decoders").range(1);
}

void GeoMAETargetConfig::fields(Fields& f) {
  f("curvature", curvature, "predict the curvature too, as the paper says and the released code does not");
  f("normal_sign", normal_sign, "which of the two normals: towards the sensor, up, or as it comes")
      .choices({"sensor", "up", "as-is"});
}

void GeoMAELossConfig::fields(Fields& f) {
  f("centroid_low", centroid_low, "weight of the centroids of fine parts").range(0);
  f("centroid_med", centroid_med, "weight of the centroids of coarser parts").range(0);
  f("centroid_top", centroid_top, "weight of the pillars' centroids").range(0);
  f("normal", normal, "weight of the normals").range(0);
  f("curvature", curvature, "weight of the curvatures").range(0);
  f("occupied_low", occupied_low, "weight of the occupancy of fine parts").range(0);
  f("occupied_med", occupied_med, "weight of the occupancy of coarser parts").range(0);
}

void GeoMAEConfig::fields(Fields& f) {
  f.group("voxel", voxel);
  f.group("encoder", encoder);
  f.group("decoder", decoder);
  f.group("mask", mask);
  f.group("target", target);
  f.group("loss", loss);
}

std::vector<nn::WindowLevel> window_levels(const std::vector<int64_t>& tokens,
                                           const std::vector<int64_t>& below) {
  if (tokens.size() != below.size())
    fail("encoder.level_below", str("has ", below.size(), " numbers, level_tokens ", tokens.size()),
         "give one for each level");
  std::vector<nn::WindowLevel> out;
  for (size_t i = 0; i < tokens.size(); ++i)
    out.push_back({.tokens = tokens[i], .from = i == 0 ? 0 : below[i - 1], .below = below[i]});
  return out;
}

void GeoMAEConfig::resolve(const ConfigTable& /*table*/) {
  voxel.check();
  const auto& w = loss;
  if (w.centroid_low + w.centroid_med + w.centroid_top + w.normal + w.occupied_low + w.occupied_med +
          (target.curvature ? w.curvature : 0) <=
      0)
    fail("loss", "all weights are 0", "give at least one term a weight");
  if (encoder.embed_dim % encoder.num_heads != 0 || encoder.embed_dim % 4 != 0)
    fail(str("encoder.embed_dim ", encoder.embed_dim),
         str("must be a multiple of 4 and of encoder.num_heads ", encoder.num_heads), "choose another");
  if (encoder.point_channels.empty() || encoder.point_channels.back() != encoder.embed_dim)
    fail("encoder.point_channels", str("must end in encoder.embed_dim ", encoder.embed_dim),
         "change one of them");
  if (encoder.window.size() != 2) fail("encoder.window", "has two numbers, x and y", "write it as [12, 12]");
  // A mask token stands where its pillar's token stood, so nothing may be dropped in between.
  const int64_t area = encoder.window[0] * encoder.window[1];
  int64_t reached = 0;
  for (const auto& level : window_levels(encoder.level_tokens, encoder.level_below)) {
    if (level.tokens < std::min(level.below - 1, area))
      fail("encoder.level_tokens",
           str("windows of up to ", std::min(level.below - 1, area), " pillars would lose some in ",
               level.tokens, " places"),
           "raise level_tokens or lower level_below");
    reached = level.below;
  }
  if (!encoder.level_tokens.empty() && reached <= area)
    fail("encoder.level_below", str("ends at ", reached, ", a window holds ", area, " pillars"),
         str("let the last level end above ", area));
}

nn::SstConfig GeoMAEConfig::sst() const {
  const auto along = [&](size_t axis) {
    return static_cast<int64_t>(std::ceil((voxel.range[axis + 3] - voxel.range[axis]) / voxel.size[axis]));
  };
  return {.dim = encoder.embed_dim,
          .num_heads = encoder.num_heads,
          .mlp_dim = encoder.mlp_dim,
          .activation = encoder.activation,
          .window = {encoder.window[0], encoder.window[1], along(0), along(1)},
          .levels = window_levels(encoder.level_tokens, encoder.level_below),
          .temperature = encoder.pos_temperature,
          .normalize_pos = encoder.normalize_pos};
}

namespace {

int64_t product(const std::vector<int64_t>& parts) { return parts[0] * parts[1] * parts[2]; }

}  // namespace

GeoMAEBackbone::GeoMAEBackbone(const GeoMAEConfig& config)
    : sst_(config.sst()), low_(product(config.voxel.low)), med_(product(config.voxel.med)) {
  mask_token_ = register_parameter("mask_token", torch::zeros({1, sst_.dim}));
  const auto stack = [&](const char* name, int64_t blocks) {
    return register_module(name, std::make_shared<nn::SstStack>(sst_, blocks));
  };
  encoder_ = stack("encoder_blocks", config.encoder.depth);
  centroid_ = stack("decoder_centroid_blocks", config.decoder.depth);
  density_ = stack("decoder_density_blocks", config.decoder.depth);
  low_head_ = head("decoder_pred_low", low_ * 3);
  med_head_ = head("decoder_pred_med", med_ * 3);
  top_head_ = head("decoder_pred_top", 3);
  normal_head_ = head("decoder_pred_density_top", 3);
  if (config.target.curvature) curvature_head_ = head("decoder_pred_curvature", 3);
  occupied_low_head_ = head("cls_pred_low", low_ * 2);
  occupied_med_head_ = head("cls_pred_med", med_ * 2);
}

std::shared_ptr<nn::Linear> GeoMAEBackbone::head(const std::string& name, int64_t values) {
  heads_.emplace_back(name, register_module(name, std::make_shared<nn::Linear>(sst_.dim, values)));
  return heads_.back().second;
}

void GeoMAEBackbone::initialize(Draws& draws, const std::string& prefix) {
  nn::xavier_uniform_(mask_token_, draws, prefix + "mask_token");
  encoder_->initialize(draws, prefix + "encoder_blocks.");
  centroid_->initialize(draws, prefix + "decoder_centroid_blocks.");
  density_->initialize(draws, prefix + "decoder_density_blocks.");
  for (const auto& [name, linear] : heads_) {
    nn::default_conv_init_(linear->weight, linear->bias, draws, prefix + name);
    nn::xavier_uniform_(linear->weight, draws, str(prefix, name, ".weight"));
  }
}

Tensor GeoMAEBackbone::encode(const Tensor& features, const Tensor& coords) const {
  return encoder_->forward(features, nn::sst_places(coords, sst_));
}

GeoMAEPrediction GeoMAEBackbone::decode(const Tensor& encoded, const Tensor& visible,
                                        const Tensor& hidden) const {
  const int64_t H = hidden.size(0);
  const auto tokens = torch::cat({encoded, mask_token_.expand({H, -1}).to(encoded.scalar_type())});
  const auto places = nn::sst_places(torch::cat({visible, hidden}), sst_);
  const auto centroid = centroid_->forward(tokens, places).slice(0, encoded.size(0));  // [H, D]
  const auto density = density_->forward(tokens, places).slice(0, encoded.size(0));
  const auto said = [](const nn::Linear& head, const Tensor& x) { return head.forward(x).to(torch::kFloat); };
  GeoMAEPrediction out;
  out.low = said(*low_head_, centroid).view({H, low_, 3});
  out.med = said(*med_head_, centroid).view({H, med_, 3});
  out.top = said(*top_head_, centroid);
  out.normal = said(*normal_head_, density);
  if (curvature_head_) out.curvature = said(*curvature_head_, density);
  out.occupied_low = said(*occupied_low_head_, centroid).view({H, low_, 2});
  out.occupied_med = said(*occupied_med_head_, centroid).view({H, med_, 2});
  return out;
}

GeoMAE::GeoMAE(const GeoMAEConfig& config, Draws& draws)
    : config_(config), grid_(nn::pillar_grid(config.voxel)) {
  points_ = register_module("voxel_encoder", std::make_shared<nn::PillarEncoder>(nn::PillarEncoderConfig{
                                                 .in_chans = config.encoder.in_chans,
                                                 .channels = config.encoder.point_channels,
                                                 .pool = config.encoder.pool,
                                                 .norm_eps = config.encoder.norm_eps,
                                                 .norm_momentum = config.encoder.norm_momentum}));
  backbone_ = register_module("backbone", std::make_shared<GeoMAEBackbone>(config));
  gather_ = register_module("gather", std::make_shared<nn::RowGather>());
  points_->initialize(draws, "voxel_encoder.");
  backbone_->initialize(draws, "backbone.");
}

nn::Pillars GeoMAE::pillars(const Batch& batch) const {
  return nn::make_pillars(batch.points, batch.point_count, grid_);
}

mask::PillarMask GeoMAE::draw_mask(const Batch& batch, const nn::Pillars& pillars, Draws& draws) const {
  Tensor open;
  if (config_.mask.of != "all") {
    if (!batch.point_label.defined())
      fail("mask.of " + config_.mask.of, "the data have no labels of points", "use mask.of = all");
    const int64_t first = config_.mask.of == "foreground" ? 1 : 0;
    open = nn::labelled_pillars(pillars, batch.point_label - first);
  }
  auto drawn = mask::mask_pillars(config_.mask, pillars.per_cloud(), open, draws);
  return {drawn.keep.to(pillars.of.device()), drawn.hide.to(pillars.of.device())};
}

GeoMAETarget GeoMAE::targets(const nn::Pillars& pillars, const Tensor& hidden) const {
  const torch::NoGradGuard no_grad;
  GeoMAETarget out;
  out.low = target::sub_voxels(pillars, config_.voxel.low, hidden);
  out.med = target::sub_voxels(pillars, config_.voxel.med, hidden);
  out.top = target::normalised_centroids(pillars).index_select(0, hidden);
  const auto around = target::sub_voxels(pillars, config_.voxel.med);  // visible neighbours too
  const auto surface = target::surfaces(pillars, around, hidden);
  out.normal = target::oriented(surface.normal, target::pillar_centroids(pillars).index_select(0, hidden),
                                config_.target.normal_sign);
  out.curvature = surface.curvature;
  out.gap = surface.gap;
  return out;
}

namespace {

/// 0 where there is nothing to take the mean of: a batch without hidden pillars.
Tensor mean_of(const Tensor& errors) {
  return errors.sum() / static_cast<double>(std::max<int64_t>(1, errors.numel()));
}

Tensor square_error(const Tensor& predicted, const Tensor& wanted) {
  return mean_of((predicted - wanted).square());
}

/// At the occupied parts. predicted [H, S, 3].
Tensor centroid_error(const Tensor& predicted, const target::SubVoxels& wanted) {
  return square_error(predicted.flatten(0, 1).index_select(0, wanted.place), wanted.normalised());
}

/// Two sigmoids a part, against the one-hot of empty and occupied. logits [H, S, 2].
Tensor occupancy_error(const Tensor& logits, const target::SubVoxels& wanted) {
  const auto occupied = wanted.occupied(logits.size(0));
  const auto one_hot = torch::stack({occupied.logical_not(), occupied}, 2).to(torch::kFloat);
  return mean_of(at::binary_cross_entropy_with_logits(logits, one_hot, {}, {}, at::Reduction::None));
}

}  // namespace

GeoMAEShares GeoMAE::shares_of(const GeoMAETarget& target) const {
  if (gather_->world == 1) return {};
  const auto of_all = [&](int64_t own) {
    return gather_->numbers(own, target.top.device()).sum().item<double>();
  };
  const int64_t hidden = std::max<int64_t>(1, target.top.size(0));  // as the loss counts
  const double all = of_all(hidden);
  const auto share = [&](const target::SubVoxels& parts) {
    const int64_t own = parts.place.numel();
    return static_cast<double>(own) / std::max(1.0, of_all(own)) * all / static_cast<double>(hidden);
  };
  GeoMAEShares out;
  out.low = share(target.low);
  out.med = share(target.med);
  return out;
}

Loss GeoMAE::loss(const GeoMAEPrediction& predicted, const GeoMAETarget& target,
                  const GeoMAEShares& shares) const {
  Loss out;
  out.weight = static_cast<double>(std::max<int64_t>(1, predicted.top.size(0)));
  const auto add = [&](const char* name, double weight, const Tensor& error) {
    if (weight <= 0) return;
    out.parts[name] = error * weight;
    out.total = out.total.defined() ? out.total + out.parts[name] : out.parts[name];
  };
  const auto& weight = config_.loss;
  add("centroid_low", weight.centroid_low, centroid_error(predicted.low, target.low) * shares.low);
  add("centroid_med", weight.centroid_med, centroid_error(predicted.med, target.med) * shares.med);
  add("centroid_top", weight.centroid_top, square_error(predicted.top, target.top));
  add("curv_around", weight.normal, square_error(predicted.normal, target.normal));  // the official name
  add("cls_low", weight.occupied_low, occupancy_error(predicted.occupied_low, target.low));
  add("cls_med", weight.occupied_med, occupancy_error(predicted.occupied_med, target.med));
  if (predicted.curvature.defined())
    add("curvature", weight.curvature, square_error(predicted.curvature, target.curvature));
  return out;
}

GeoMAEPrediction GeoMAE::predict(const nn::Pillars& clouds, const mask::PillarMask& drawn) {
  const auto features = pillar_features(clouds);  // [V, D]
  const auto visible = clouds.coords.index_select(0, drawn.keep);
  const auto hidden = clouds.coords.index_select(0, drawn.hide);
  const auto encoded = backbone_->encode(features.index_select(0, drawn.keep), visible);
  return backbone_->decode(encoded, visible, hidden);
}

Loss GeoMAE::forward(const Batch& batch, Draws& draws) {
  const auto clouds = pillars(batch);
  const auto drawn = draw_mask(batch, clouds, draws);
  const auto target = targets(clouds, drawn.hide);
  return loss(predict(clouds, drawn), target, shares_of(target));
}

Tensor GeoMAE::pillar_features(const nn::Pillars& pillars) {
  // Metres of a whole scene do not fit bf16: this part stays fp32, as officially.
  const nn::Autocast off(std::nullopt, pillars.points.device().type());
  return points_->forward(pillars);
}

Tensor GeoMAE::encoded(const nn::Pillars& pillars) {
  return backbone_->encode(pillar_features(pillars), pillars.coords);
}

Tensor GeoMAE::features(const Batch& batch, const FeatureOptions& options) {
  const torch::NoGradGuard no_grad;
  const auto clouds = pillars(batch);
  const auto x = encoded(clouds).to(torch::kFloat);  // [V, D]
  const int64_t B = clouds.clouds, D = x.size(1);
  const auto index = clouds.coords.select(1, 0).unsqueeze(1).expand_as(x);
  const auto pooled = [&](const char* how) {
    return torch::zeros({B, D}, x.options()).scatter_reduce(0, index, x, how, /*include_self=*/false);
  };
  if (options.pool == "avg") return pooled("mean");
  return torch::cat({pooled("mean"), pooled("amax")}, 1);
}

namespace {

/// The guess that needs no learning: what is right on average over the hidden pillars.
GeoMAEPrediction average_guess(const GeoMAETarget& target, const GeoMAEPrediction& like) {
  const int64_t H = like.top.size(0);
  const auto middle = [](const target::SubVoxels& parts, const Tensor& shape) {
    return parts.normalised().mean(0).expand_as(shape);
  };
  const auto logits = [&](const target::SubVoxels& parts) {
    const auto share = parts.occupied(H).to(torch::kFloat).mean(0).clamp(1e-4, 1 - 1e-4);  // [S]
    const auto logit = torch::logit(share);
    return torch::stack({-logit, logit}, 1).expand({H, -1, -1});
  };
  GeoMAEPrediction out;
  out.low = middle(target.low, like.low), out.med = middle(target.med, like.med);
  out.top = target.top.mean(0).expand_as(like.top);
  out.normal = target.normal.mean(0).expand_as(like.normal);
  if (like.curvature.defined()) out.curvature = target.curvature.mean(0).expand_as(like.curvature);
  out.occupied_low = logits(target.low), out.occupied_med = logits(target.med);
  return out;
}

/// Lists of rows [M, D] that belong to clouds, rising -> [B, longest, D], and how many each has.
std::pair<Tensor, Tensor> by_cloud(const Tensor& rows, const Tensor& cloud, int64_t clouds) {
  const auto count = torch::bincount(cloud, {}, clouds);
  const int64_t longest = rows.size(0) > 0 ? count.max().item<int64_t>() : 0;
  const auto rank =
      torch::arange(rows.size(0), cloud.options()) - (count.cumsum(0) - count).index_select(0, cloud);
  auto out = torch::zeros({clouds * longest, rows.size(1)}, rows.options());
  out.index_copy_(0, cloud * longest + rank, rows);
  return {out.view({clouds, longest, rows.size(1)}), count};
}

}  // namespace

void GeoMAE::show_prediction(const nn::Pillars& clouds, const Tensor& hidden,
                             const GeoMAEPrediction& predicted, Preview& out) const {
  // Parts that are said to be occupied, at their predicted centroids.
  const auto grid = nn::cut_grid(grid_, config_.voxel.med);
  const auto said = predicted.occupied_med.select(2, 1).gt(predicted.occupied_med.select(2, 0));  // [H, M]
  const auto place = said.flatten().nonzero().squeeze(1);
  const int64_t M = said.size(1);
  const auto pillar = hidden.index_select(0, place.floor_divide(M));
  const auto cell = target::part_cells(clouds.coords.index_select(0, pillar).slice(1, 1), place.remainder(M),
                                       config_.voxel.med);
  const auto centroid = predicted.med.flatten(0, 1).index_select(0, place).clamp(0, 1) + cell;  // z, y, x
  const auto row = [&](const std::array<double, 3>& values) {
    return torch::tensor({values[0], values[1], values[2]}, torch::kDouble)
        .to(centroid.device(), torch::kFloat);
  };
  const auto metres = (centroid * row(grid.size) + row(grid.start)).flip(1);
  const auto normal = (predicted.normal / predicted.normal.norm(2, 1, true).clamp_min(1e-12))
                          .index_select(0, place.floor_divide(M))
                          .flip(1);
  const auto cloud = clouds.coords.select(1, 0).index_select(0, pillar);
  const auto order = cloud.argsort(/*stable=*/true);
  const auto [both, count] = by_cloud(torch::cat({metres, normal}, 1).index_select(0, order),
                                      cloud.index_select(0, order), clouds.clouds);
  out.predicted_points = both.slice(2, 0, 3).cpu();
  out.predicted_normals = both.slice(2, 3).cpu();
  out.predicted_count = count.cpu();
}

Preview GeoMAE::preview(const Batch& batch, Draws& draws) {
  const torch::NoGradGuard no_grad;
  const bool was_training = is_training();
  eval();
  const auto clouds = pillars(batch);
  const auto drawn = draw_mask(batch, clouds, draws);
  const auto predicted = predict(clouds, drawn);
  train(was_training);
  Preview out;
  out.points = batch.points.cpu();
  out.point_count = batch.point_count.cpu();
  const auto is_hidden = torch::zeros_like(clouds.count, torch::kBool).index_fill_(0, drawn.hide, true);
  out.hidden_points = torch::zeros({batch.points.size(0) * batch.points.size(1)}, is_hidden.options())
                          .index_copy_(0, clouds.source, is_hidden.index_select(0, clouds.of))
                          .view({batch.points.size(0), batch.points.size(1)})
                          .cpu();
  show_prediction(clouds, drawn.hide, predicted, out);
  if (drawn.hide.numel() == 0) return out;
  const auto wanted = targets(clouds, drawn.hide);
  const double guess = loss(average_guess(wanted, predicted), wanted).total.item<double>();
  if (guess > 0) out.explained = 1 - loss(predicted, wanted).total.item<double>() / guess;
  return out;
}

InputSpec GeoMAE::input() const { return {.channels = config_.encoder.in_chans, .modality = "points"}; }

bool GeoMAE::decays(const std::string& name, const Tensor& /*parameter*/) const {
  return name.find("norm") == std::string::npos;  // biases decay too, as officially
}

int64_t GeoMAE::layer_of(const std::string& name) const {
  constexpr std::string_view kBlocks = "backbone.encoder_blocks.";
  if (name.starts_with("voxel_encoder.")) return 0;
  if (name.starts_with(kBlocks)) return 1 + std::stoll(name.substr(kBlocks.size()));
  return config_.encoder.depth + 1;
}

namespace {

const Register<MethodInfo> registered{
    "geomae",
    {.title = "GeoMAE: Masked Geometric Target Prediction for Self-supervised Point Cloud Pre-Training",
     .paper = "Tian, Ran, Wang, Zhao, CVPR 2023, arXiv 2305.08808",
     .code = "github.com/Tsinghua-MARS-Lab/GeoMAE, 962d6db, Apache-2.0",
     .summary = "A sweep of a laser scanner is cut into pillars, of which 70 % are hidden. A sparse window "
                "transformer reads the others; two light decoders tell the geometry of the hidden ones: "
                "centroids at three scales, which parts are occupied, the surface's normal and curvature.",
     .parts = {"representation: pillars of points; dynamic point encoder with batch norm",
               "network: sparse window transformer (SST), regional grouping, shifted windows",
               "masker: random, 70 % of the non-empty pillars",
               "decoders: one for centroids and occupancy, one "
               "for the surface",
               "target: sub-voxel centroids, occupancy, normals (curvature as an option)",
               "loss: weighted squared errors and binary cross-entropies"},
     .defaults = {"train.base_lr=1e-3", "train.lr=1e-3", "train.min_lr=1e-8", "train.warmup_lr=1e-5",
                  "train.schedule=cyclic", "train.epochs=72", "train.warmup_epochs=7.2", "train.batch_size=4",
                  "train.betas=[0.9,0.999]", "train.weight_decay=0.05", "train.clip_grad=10"},
     .make_config = [] { return std::make_unique<GeoMAEConfig>(); },
     .make =
         [](const MethodConfig& config, Draws& draws) {
           return std::make_shared<GeoMAE>(dynamic_cast<const GeoMAEConfig&>(config), draws);
         },
     .tiny = {"voxel.size=[0.8,0.8,4]", "voxel.range=[-4,-4,-1,4,4,3]", "voxel.low=[4,2,2]",
              "voxel.med=[2,2,2]", "encoder.point_channels=[8,16]", "encoder.embed_dim=16", "encoder.depth=1",
              "encoder.num_heads=2", "encoder.mlp_dim=32", "encoder.window=[4,4]", "decoder.depth=1"},
     .modality = "points",
     .unused_parameters = true}};  // a batch may have no hidden pillar, a term no weight

}  // namespace
}  // namespace lacuna
