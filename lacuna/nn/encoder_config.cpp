#include "lacuna/nn/encoder_config.h"

#include <algorithm>

#include "lacuna/core/error.h"

namespace lacuna::nn {

namespace {

struct SwinArch {
  const char* name;
  int64_t embed_dim;
  std::vector<int64_t> depths, num_heads;
};
// Swin's sizes (configs of microsoft/Swin-Transformer).
const std::vector<SwinArch>& swin_archs() {
  static const std::vector<SwinArch> archs = {{"swin_tiny", 96, {2, 2, 6, 2}, {3, 6, 12, 24}},
                                              {"swin_small", 96, {2, 2, 18, 2}, {3, 6, 12, 24}},
                                              {"swin_base", 128, {2, 2, 18, 2}, {4, 8, 16, 32}},
                                              {"swin_large", 192, {2, 2, 18, 2}, {6, 12, 24, 48}}};
  return archs;
}

struct BeitArch {
  const char* name;
  int64_t embed_dim, depth, num_heads;
};
constexpr BeitArch kBeitArchs[] = {{"beit_base", 768, 12, 12}, {"beit_large", 1024, 24, 16}};

}  // namespace

void EncoderConfig::fields(Fields& f) {
  std::vector<std::string> archs = encoder_archs();
  for (const char* bare : {"vit", "beit-vit", "swin"}) archs.emplace_back(bare);
  f("arch", arch,
    "named size; fills widths, depths and heads unless they are given; vit, beit-vit, swin, resnet take them")
      .choices(archs);
  f("img_size", img_size, "height and width of the input in pixels").range(1, 1 << 20);
  f("patch_size", patch_size, "height and width of a patch in pixels").range(1, 1 << 16);
  f("in_chans", in_chans, "channels of the input; taken from the data unless given").range(1, 1 << 16);
  f("embed_dim", embed_dim, "width of the tokens; swin, resnet: of the first stage").range(1);
  f("depth", depth, "vit, beit: number of blocks").range(1);
  f("depths", depths, "swin, resnet: number of blocks of each stage").range(1);
  f("num_heads", num_heads, "attention heads of a block; swin: for each stage").range(1);
  f("window_size", window_size, "swin: side of an attention window in tokens").range(1);
  f("mlp_ratio", mlp_ratio, "hidden width of the MLP over the token's").range(0);
  f("qkv_bias", qkv_bias, "bias in the q, k, v projection; beit: of q and v");
  f("norm_eps", norm_eps, "epsilon of the norms").range(0);
  f("drop_path", drop_path, "stochastic depth rate of the last block, growing from 0").range(0, 0.99);
  f("init_values", init_values, "vit, beit: first value of layer scale; 0: no layer scale").range(0);
  f("class_token", class_token, "vit: put a class token in front of the patches");
  f("pos_embed", pos_embed, "vit: positions of the patches").choices({"sincos2d-fixed", "learned", "none"});
  f("ape", ape, "swin: learned absolute positions besides the relative ones");
  f("patch_norm", patch_norm, "swin: layer norm behind the patch embedding");
  f("use_abs_pos_emb", use_abs_pos_emb, "beit: learned absolute positions");
  f("use_rel_pos_bias", use_rel_pos_bias, "beit: a relative position table in each block");
  f("use_shared_rel_pos_bias", use_shared_rel_pos_bias, "beit: one relative position table for all blocks");
  f("use_mean_pooling", use_mean_pooling, "beit: no final norm, as for features that are averaged");
  f("stem", stem, "resnet: 7x7 of stride 2 and max pooling, or 3x3 for small pictures")
      .choices({"conv7-pool", "conv3"});
  f("groups", groups, "resnet-bottleneck: groups of the 3x3 convolutions (ResNeXt)").range(1);
  f("base_width", base_width, "resnet-bottleneck: width of a group of those for 64 channels").range(1);
}

EncoderKind EncoderConfig::kind() const {
  if (is_conv_net(arch)) return EncoderKind::kConvNet;
  if (arch.starts_with("swin")) return EncoderKind::kSwin;
  return arch.starts_with("beit") ? EncoderKind::kBeit : EncoderKind::kViT;
}

void EncoderConfig::resolve(const ConfigTable& table, const std::string& prefix) {
  const auto unless_given = [&](const char* key, auto& value, auto habit) {
    if (!table.is_set(prefix + "." + key)) value = habit;
  };
  switch (kind()) {
    case EncoderKind::kViT: {
      ViTConfig sized = vit();
      sized.resolve(table, prefix);
      std::tie(embed_dim, depth) = std::tie(sized.embed_dim, sized.depth);
      num_heads = {sized.num_heads};
      return;
    }
    case EncoderKind::kBeit:
      for (const auto& size : kBeitArchs) {
        if (arch != size.name) continue;
        unless_given("embed_dim", embed_dim, size.embed_dim);
        unless_given("depth", depth, size.depth);
        unless_given("num_heads", num_heads, std::vector<int64_t>{size.num_heads});
      }
      unless_given("init_values", init_values, 0.1);
      check_beit(beit());
      return;
    case EncoderKind::kSwin:
      for (const auto& size : swin_archs()) {
        if (arch != size.name) continue;
        unless_given("embed_dim", embed_dim, size.embed_dim);
        unless_given("depths", depths, size.depths);
        unless_given("num_heads", num_heads, size.num_heads);
      }
      unless_given("patch_size", patch_size, Size2{4, 4});
      unless_given("norm_eps", norm_eps, 1e-5);
      check_swin(swin());
      return;
    case EncoderKind::kConvNet: {
      const auto& sizes = Registry<ConvNetArch>::instance().get(arch).sizes;
      const auto fill = [&](const char* key, auto& value) {
        if (sizes.contains(key)) unless_given(key, value, sizes.at(key).get<std::decay_t<decltype(value)>>());
      };
      fill("embed_dim", embed_dim), fill("depths", depths), fill("stem", stem);
      fill("groups", groups), fill("base_width", base_width);
      unless_given("norm_eps", norm_eps, sizes.value("norm_eps", 1e-5));
      unless_given("drop_path", drop_path, 0.0);
    }
  }
}

namespace {

int64_t one_number(const std::vector<int64_t>& num_heads) {
  if (num_heads.size() != 1)
    fail("encoder.num_heads", str(num_heads.size(), " numbers for an encoder without stages"), "give one");
  return num_heads[0];
}

}  // namespace

ViTConfig EncoderConfig::vit() const {
  return {.arch = arch,
          .img_size = img_size,
          .patch_size = patch_size,
          .in_chans = in_chans,
          .embed_dim = embed_dim,
          .depth = depth,
          .num_heads = one_number(num_heads),
          .mlp_ratio = mlp_ratio,
          .qkv_bias = qkv_bias,
          .norm_eps = norm_eps,
          .class_token = class_token,
          .pos_embed = pos_embed,
          .drop_path = drop_path,
          .init_values = init_values};
}

BeitConfig EncoderConfig::beit() const {
  return {.img_size = img_size,
          .patch_size = patch_size,
          .in_chans = in_chans,
          .embed_dim = embed_dim,
          .depth = depth,
          .num_heads = one_number(num_heads),
          .mlp_ratio = mlp_ratio,
          .norm_eps = norm_eps,
          .qkv_bias = qkv_bias,
          .init_values = init_values,
          .use_abs_pos_emb = use_abs_pos_emb,
          .use_rel_pos_bias = use_rel_pos_bias,
          .use_shared_rel_pos_bias = use_shared_rel_pos_bias,
          .use_mean_pooling = use_mean_pooling,
          .drop_path = drop_path};
}

SwinConfig EncoderConfig::swin() const {
  return {.img_size = img_size,
          .patch_size = patch_size,
          .in_chans = in_chans,
          .embed_dim = embed_dim,
          .depths = depths,
          .num_heads = num_heads,
          .window_size = window_size,
          .mlp_ratio = mlp_ratio,
          .norm_eps = norm_eps,
          .qkv_bias = qkv_bias,
          .ape = ape,
          .patch_norm = patch_norm,
          .drop_path = drop_path};
}

ConvNetConfig EncoderConfig::conv_net(int64_t num_classes) const {
  return {.arch = arch,
          .in_chans = in_chans,
          .num_classes = num_classes,
          .depths = depths,
          .embed_dim = embed_dim,
          .groups = groups,
          .base_width = base_width,
          .stem = stem,
          .norm_eps = norm_eps};
}

std::shared_ptr<GridEncoder> EncoderConfig::make_grid_encoder(double init_bound) const {
  LACUNA_ASSERT(kind() == EncoderKind::kSwin || kind() == EncoderKind::kBeit);
  if (kind() == EncoderKind::kSwin) {
    auto config = swin();
    config.mask_token = true;
    return std::make_shared<Swin>(config);
  }
  auto config = beit();
  config.mask_token = true;
  config.init_bound = init_bound;
  return std::make_shared<Beit>(config);
}

std::vector<std::string> encoder_archs() {
  std::vector<std::string> names = vit_archs();
  for (const auto& size : kBeitArchs) names.emplace_back(size.name);
  for (const auto& size : swin_archs()) names.emplace_back(size.name);
  for (const auto& name : Registry<ConvNetArch>::instance().names()) names.push_back(name);
  return names;
}

}  // namespace lacuna::nn
