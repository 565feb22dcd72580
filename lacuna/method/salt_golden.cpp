// Golden cases of SALT: both stages, the masker, V-JEPA's schedules. Official names are ours but for the
// student's, which is our encoder, and the teacher's, which is no part of a checkpoint.

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/method/golden.h"
#include "lacuna/method/salt.h"
#include "lacuna/nn/weights.h"

namespace lacuna {
namespace {

// Card key -> our key; "" drops it. The masks come with the inputs.
const std::vector<std::pair<std::string, std::string>> kRenames = {
    {"encoder.act", ""},
    {"teacher.act", ""},
    {"predictor.predictor_embed_dim", "predictor.embed_dim"},
    {"predictor.out_dim", ""},
    {"mask", ""}};
const std::vector<std::pair<std::string, std::string>> kPixelLoss = {
    {"loss.loss_exp", "loss.pixel_exp"}, {"loss.divide_by_exp", "loss.pixel_divide"}};
const std::vector<std::pair<std::string, std::string>> kLatentLoss = {
    {"loss.loss_exp", "loss.latent_exp"}, {"loss.divide_by_exp", "loss.latent_divide"}};
// The teacher reads what the student reads.
const char* const kInputKeys[] = {"img_size", "patch_size", "num_frames", "tubelet_size", "in_chans"};

void require_gelu(const Json& config, const char* part) {
  if (config.contains(part) && config[part].value("act", "gelu") != "gelu")
    fail(str("case.toml: ", part, ".act"), "is not gelu", "no released network has another");
}

SALTConfig config_of(const GoldenCase& golden) {
  Json config = golden.config;
  for (const char* part : {"encoder", "teacher"}) require_gelu(config, part);
  if (config.contains("teacher"))
    for (const char* key : kInputKeys) config["teacher"].erase(key);
  config.erase("mask");
  config = rename_keys(config, kRenames);
  config = rename_keys(config, golden.config.value("stage", 1) == 1 ? kPixelLoss : kLatentLoss);
  SALTConfig out;
  out.resolve(table_of(out, config));
  return out;
}

/// The tensors called PREFIX...; with `as`, renamed to AS....
io::Tensors under(const io::Tensors& tensors, const std::string& prefix, const std::string& as = "") {
  io::Tensors out;
  for (const auto& [name, tensor] : tensors)
    if (name.starts_with(prefix)) out[as + name.substr(prefix.size())] = tensor;
  return out;
}

io::Tensors run_stage(const GoldenCase& golden, const std::string& encoder_name) {
  const auto config = config_of(golden);
  SeededDraws unused(0);
  SALT model(config, unused);
  auto weights = under(golden.weights, encoder_name + ".", "encoder.");
  weights.merge(under(golden.weights, "predictor.", "predictor."));
  load_weights(model, weights, "weights.safetensors");
  if (config.frozen_teacher())
    nn::load_weights(nn::named_tensors(*model.make_teacher()), under(golden.weights, "teacher."),
                     "weights.safetensors");
  const auto& video = golden.input("video");
  const auto latent = model.teacher_latent(video);
  io::Tensors out;
  if (latent.defined()) out["teacher_latent"] = latent;
  Tensor total;
  int64_t groups = 0;
  for (; golden.inputs.count(str("masks_enc.", groups)) != 0; ++groups) {
    const mask::TokenMasks masks{golden.input(str("masks_enc.", groups)),
                                 golden.input(str("masks_pred.", groups))};
    const auto part = model.part(video, masks, groups, latent, nullptr);
    total = total.defined() ? total + part.loss : part.loss;
    out[str("latent.", groups)] = part.latent.detach();
    out[str("pred.", groups)] = part.predicted.detach();
    if (config.pixels()) out[str("target.", groups)] = part.target;
    out[str("loss.mask", groups)] = part.loss.detach();
  }
  if (groups == 0) fail("inputs.safetensors", "holds no masks_enc.0", "write the case as the card says");
  total = total / static_cast<double>(groups);
  total.backward();
  out["loss"] = total.detach();
  for (const auto& item : model.named_parameters()) {
    if (!item.value().grad().defined()) continue;
    std::string name = item.key();
    if (name.starts_with("encoder.")) name.replace(0, 7, encoder_name);
    out["grad." + name] = item.value().grad();
  }
  return out;
}

/// [config.mask.groupN]
mask::MultiBlockGroup group_of(const Json& keys) {
  const auto range = [&](const char* key, std::array<double, 2> otherwise) {
    return keys.contains(key) ? keys.at(key).get<std::array<double, 2>>() : otherwise;
  };
  const mask::MultiBlockGroup own;
  return {.num_blocks = keys.value("num_blocks", int64_t{1}),
          .spatial_scale = range("spatial_scale", own.spatial_scale),
          .temporal_scale = range("temporal_scale", own.temporal_scale),
          .aspect_ratio = range("aspect_ratio", own.aspect_ratio),
          .max_temporal_keep = keys.value("max_temporal_keep", own.max_temporal_keep),
          .max_keep = keys.value("max_keep", own.max_keep),
          .full_complement = keys.value("full_complement", own.full_complement)};
}

Json encoder_with_defaults(const Json& config) {
  Json encoder = config.at("encoder");
  encoder.erase("act");
  return encoder;
}

io::Tensors masker(const GoldenCase& golden) {
  nn::VideoViTConfig encoder;
  ConfigTable table;
  table.add("encoder", encoder);
  table.merge({{"encoder", encoder_with_defaults(golden.config)}}, "case.toml");
  const auto samples = golden.config.at("batch").get<int64_t>();
  io::Tensors out;
  for (int64_t g = 0; golden.config.at("mask").contains(str("group", g)); ++g) {
    const auto group = group_of(golden.config["mask"][str("group", g)]);
    const auto u = golden.input(str("u.", g)).to(torch::kDouble).contiguous();
    const auto size = mask::block_size(group, encoder.grid(),
                                       {u[0].item<double>(), u[1].item<double>(), u[2].item<double>()});
    const auto& places = golden.input(str("pos.", g));  // [attempts, blocks, 3]
    int64_t used = 0;
    const auto masks =
        mask::multi_block(group, encoder.grid(), size, samples, [&](int64_t /*sample*/, int64_t /*attempt*/) {
          if (used == places.size(0))
            fail(str("pos.", g), str("holds ", used, " attempts, one more is needed"), "check the case");
          const auto row = places.accessor<int64_t, 3>()[used++];
          std::vector<std::array<int64_t, 3>> blocks;
          for (int64_t i = 0; i < places.size(1); ++i) blocks.push_back({row[i][0], row[i][1], row[i][2]});
          return blocks;
        });
    out[str("block_size.", g)] = torch::tensor({size.t, size.h, size.w}, torch::kLong);
    out[str("masks_enc.", g)] = masks.context;
    out[str("masks_pred.", g)] = masks.targets;
  }
  return out;
}

const Register<GoldenKind> stage1{"salt/stage1",
                                  {[](const GoldenCase& golden) { return run_stage(golden, "encoder"); }}};
const Register<GoldenKind> stage2{"salt/stage2",
                                  {[](const GoldenCase& golden) { return run_stage(golden, "student"); }}};
const Register<GoldenKind> maskers{"salt/masker", {masker}};

}  // namespace
}  // namespace lacuna
