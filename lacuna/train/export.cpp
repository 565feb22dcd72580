#include "lacuna/train/export.h"

#include "lacuna/core/error.h"
#include "lacuna/nn/encoder_config.h"
#include "lacuna/train/names.h"

namespace lacuna::train {

namespace {

using nn::EncoderKind;

nn::EncoderConfig encoder_of(const RunConfig& config) {
  nn::EncoderConfig encoder;
  ConfigTable table;
  table.add("encoder", encoder);
  for (const auto& field : config.table.fields())
    if (table.has(field.key)) table.set(field.key, field.get(), "the weights' config");
  return encoder;
}

Json pair_or_side(Size2 size) { return size.h == size.w ? Json(size.h) : Json::array({size.h, size.w}); }

int64_t hidden_width(int64_t dim, double mlp_ratio) {
  return static_cast<int64_t>(static_cast<double>(dim) * mlp_ratio);
}

[[noreturn]] void refuse(const std::string& what, const std::string& why) {
  fail("export --format hf", str(what, " ", why), "use --format timm or official");
}

template <class T>
T value_of(const RunConfig& config, const std::string& key, T absent) {
  return config.table.has(key) ? config.table.get(key).get<T>() : absent;
}

Json hf_vit(const RunConfig& config, const nn::EncoderConfig& encoder) {
  const bool supervised = config.method == "supervised";
  if (!encoder.class_token) refuse("transformers' ViT", "always has a class token, these weights have none");
  if (encoder.init_values > 0) refuse("transformers' ViT", "has no layer scale");
  if (encoder.pos_embed == "none")
    refuse("transformers' ViT", "always has positions, these weights have none");
  if (supervised && config.table.get("head.pool") != "token")
    refuse("transformers' ViTForImageClassification",
           "reads the class token, this head reads the mean of the patches");
  Json out = {{"model_type", supervised ? "vit" : "vit_mae"},
              {"architectures", {supervised ? "ViTForImageClassification" : "ViTMAEForPreTraining"}},
              {"image_size", pair_or_side(encoder.img_size)},
              {"patch_size", pair_or_side(encoder.patch_size)},
              {"num_channels", encoder.in_chans},
              {"hidden_size", encoder.embed_dim},
              {"num_hidden_layers", encoder.depth},
              {"num_attention_heads", encoder.num_heads.at(0)},
              {"intermediate_size", hidden_width(encoder.embed_dim, encoder.mlp_ratio)},
              {"qkv_bias", encoder.qkv_bias},
              {"hidden_act", "gelu"},
              {"layer_norm_eps", encoder.norm_eps}};
  if (supervised) return out;
  const auto width = config.table.get("decoder.embed_dim").get<int64_t>();
  out["decoder_hidden_size"] = width;
  out["decoder_num_hidden_layers"] = config.table.get("decoder.depth");
  out["decoder_num_attention_heads"] = config.table.get("decoder.num_heads");
  out["decoder_intermediate_size"] = hidden_width(width, config.table.get("decoder.mlp_ratio").get<double>());
  out["mask_ratio"] = config.table.get("mask.ratio");
  out["norm_pix_loss"] = config.table.get("loss.norm_pix");
  return out;
}

Json hf_swin(const RunConfig& config, const nn::EncoderConfig& encoder) {
  const bool supervised = config.method == "supervised";
  if (!encoder.patch_norm) refuse("transformers' Swin", "always norms its patches");
  if (value_of<std::string>(config, "decoder.type", "linear") != "linear")
    refuse("transformers' SwinForMaskedImageModeling", "has a linear decoder alone");
  const auto swin = encoder.swin();
  return {{"model_type", "swin"},
          {"architectures", {supervised ? "SwinForImageClassification" : "SwinForMaskedImageModeling"}},
          {"image_size", pair_or_side(encoder.img_size)},
          {"patch_size", pair_or_side(encoder.patch_size)},
          {"num_channels", encoder.in_chans},
          {"embed_dim", encoder.embed_dim},
          {"depths", encoder.depths},
          {"num_heads", encoder.num_heads},
          {"window_size", encoder.window_size},
          {"mlp_ratio", encoder.mlp_ratio},
          {"qkv_bias", encoder.qkv_bias},
          {"drop_path_rate", encoder.drop_path},
          {"use_absolute_embeddings", encoder.ape},
          {"hidden_act", "gelu"},
          {"layer_norm_eps", encoder.norm_eps},
          {"encoder_stride", encoder.patch_size.h << (encoder.depths.size() - 1)},
          {"hidden_size", swin.stage_dim(encoder.depths.size() - 1)}};
}

Json hf_config(const RunConfig& config, const nn::EncoderConfig& encoder) {
  if (encoder.kind() == EncoderKind::kBeit)
    refuse("transformers' BEiT", "keeps its relative positions in another form");
  Json out = encoder.kind() == EncoderKind::kSwin ? hf_swin(config, encoder) : hf_vit(config, encoder);
  const auto classes = value_of<int64_t>(config, "head.num_classes", 0);
  if (classes > 0) {
    out["id2label"] = Json::object();
    for (int64_t i = 0; i < classes; ++i) out["id2label"][std::to_string(i)] = str("class ", i);
  }
  return out;
}

Json hf_preprocessor(const RunConfig& config, const nn::EncoderConfig& encoder) {
  return {{"image_processor_type", "ViTImageProcessor"},
          {"do_resize", true},
          {"size", {{"height", encoder.img_size.h}, {"width", encoder.img_size.w}}},
          {"resample", 3},
          {"do_rescale", true},
          {"rescale_factor", 1.0 / 255},
          {"do_normalize", true},
          {"image_mean", config.data.mean},
          {"image_std", config.data.std}};
}

/// timm.models.<module>.<class>(**model_args) takes encoder.safetensors strictly.
Json timm_config(const RunConfig& config, const nn::EncoderConfig& encoder) {
  const auto classes = value_of<int64_t>(config, "head.num_classes", 0);
  const auto pool = value_of<std::string>(config, "head.pool", "");
  Json args = {{"img_size", pair_or_side(encoder.img_size)},
               {"patch_size", pair_or_side(encoder.patch_size)},
               {"in_chans", encoder.in_chans},
               {"num_classes", classes},
               {"embed_dim", encoder.embed_dim},
               {"mlp_ratio", encoder.mlp_ratio},
               {"qkv_bias", encoder.qkv_bias}};
  std::string model;
  if (encoder.kind() == EncoderKind::kSwin) {
    model = "swin_transformer.SwinTransformer";
    args["depths"] = encoder.depths;
    args["num_heads"] = encoder.num_heads;
    args["window_size"] = encoder.window_size;
  } else {
    args["depth"] = encoder.depth;
    args["num_heads"] = encoder.num_heads.at(0);
    if (encoder.init_values > 0) args["init_values"] = encoder.init_values;
    if (encoder.kind() == EncoderKind::kViT) {
      model = "vision_transformer.VisionTransformer";
      args["class_token"] = encoder.class_token;
      args["global_pool"] = pool.empty() ? (encoder.class_token ? "token" : "avg") : pool;
      args["fc_norm"] = pool == "avg";
      args["no_embed_class"] = false;
      args["pos_embed"] = encoder.pos_embed == "none" ? "none" : "learn";
    } else {
      model = "beit.Beit";
      args["use_abs_pos_emb"] = encoder.use_abs_pos_emb;
      args["use_rel_pos_bias"] = pool.empty() ? encoder.use_rel_pos_bias
                                              : encoder.use_rel_pos_bias || encoder.use_shared_rel_pos_bias;
      args["use_shared_rel_pos_bias"] = pool.empty() && encoder.use_shared_rel_pos_bias;
      args["global_pool"] = pool == "avg" || encoder.use_mean_pooling ? "avg" : "token";
    }
  }
  return {{"model", "timm.models." + model},
          {"model_args", std::move(args)},
          {"norm_eps", encoder.norm_eps},
          {"mean", config.data.mean},
          {"std", config.data.std}};
}

io::Tensors without_pretraining(const io::Tensors& official) {
  io::Tensors out;
  for (const auto& [name, tensor] : official)
    if (!is_pretraining_only(name)) out[name] = tensor;
  return out;
}

}  // namespace

void export_weights(const Weights& weights, const RunConfig& config, const std::string& format,
                    const io::fs::path& folder) {
  const auto& own_names = config.info().names.from_official;
  const auto named = [&](const io::Tensors& tensors) {
    return own_names && format != "official" ? own_names(tensors, format) : from_official(tensors, format);
  };
  // Methods with names of their own describe themselves.
  const bool described = !own_names && format != "official";
  const auto encoder = described ? encoder_of(config) : nn::EncoderConfig();
  const Json description = !described       ? Json()
                           : format == "hf" ? hf_config(config, encoder)
                                            : timm_config(config, encoder);
  const auto& describe = config.info().names.describe;
  const auto own_files = own_names && describe && format != "official" ? describe(config.table, format)
                                                                       : std::map<std::string, Json>{};
  const auto* own_form =
      format == "official" ? Registry<OfficialForm>::instance().find(config.method) : nullptr;
  const auto whole = own_form ? own_form->tensors(weights.tensors, config) : named(weights.tensors);
  const auto part = own_form ? io::Tensors() : named(without_pretraining(weights.tensors));
  if (io::fs::exists(folder)) fail(folder.string(), "is already there", "give another --out, or remove it");
  io::Metadata metadata{{"format", "pt"}, {"lacuna.exported_from", weights.origin}};
  if (format == "official")
    metadata.insert({{"lacuna.method", config.method}, {"lacuna.config", config.to_toml()}});
  const auto parent = io::fs::absolute(folder).parent_path();
  io::make_folder(parent);
  io::write_folder_atomically(folder, [&](const io::fs::path& inside) {
    io::save_safetensors(inside / "model.safetensors", whole, metadata);
    if (!own_form) io::save_safetensors(inside / "encoder.safetensors", part, metadata);
    for (const auto& [name, content] : own_files) io::write_atomically(inside / name, content.dump(2) + "\n");
    if (!description.is_null()) io::write_atomically(inside / "config.json", description.dump(2) + "\n");
    if (format == "hf" && described)
      io::write_atomically(inside / "preprocessor_config.json",
                           hf_preprocessor(config, encoder).dump(2) + "\n");
  });
}

}  // namespace lacuna::train
