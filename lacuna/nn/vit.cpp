#include "lacuna/nn/vit.h"

#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/init.h"

namespace lacuna::nn {

namespace {

struct Arch {
  const char* name;
  int64_t embed_dim, depth, num_heads;
};
// timm's sizes (vision_transformer.py).
constexpr Arch kArchs[] = {{"vit_tiny", 192, 12, 3},
                           {"vit_small", 384, 12, 6},
                           {"vit_base", 768, 12, 12},
                           {"vit_large", 1024, 24, 16},
                           {"vit_huge", 1280, 32, 16}};

void check_multiple(const char* side, int64_t size, int64_t patch) {
  if (size % patch == 0 && size > 0) return;
  const int64_t below = size / patch * patch, above = below + patch;
  const std::string legal = below > 0 ? str(below, " or ", above) : str(above);
  fail(str("encoder.img_size: ", side, " ", size), str("not a multiple of the patch's ", patch),
       str("the nearest legal sizes are ", legal));
}

}  // namespace

void ViTConfig::fields(Fields& f) {
  f("arch", arch, "named size; fills embed_dim, depth and num_heads unless they are given")
      .choices({"vit", "vit_tiny", "vit_small", "vit_base", "vit_large", "vit_huge"});
  f("img_size", img_size, "height and width of the input in pixels").range(1, 1 << 20);
  f("patch_size", patch_size, "height and width of a patch in pixels").range(1, 1 << 16);
  f("in_chans", in_chans, "channels of the input; taken from the data unless given").range(1, 1 << 16);
  f("embed_dim", embed_dim, "width of the tokens").range(1);
  f("depth", depth, "number of blocks").range(1);
  f("num_heads", num_heads, "attention heads of a block").range(1);
  f("mlp_ratio", mlp_ratio, "hidden width of the MLP over embed_dim").range(0);
  f("qkv_bias", qkv_bias, "bias in the q, k, v projection");
  f("norm_eps", norm_eps, "epsilon of the layer norms").range(0);
  f("class_token", class_token, "put a class token in front of the patches");
  f("pos_embed", pos_embed, "positions of the patches").choices({"sincos2d-fixed", "learned", "none"});
  f("drop_path", drop_path, "stochastic depth rate of the last block, growing from 0").range(0, 0.99);
  f("init_values", init_values, "first value of layer scale; 0: no layer scale").range(0);
}

void ViTConfig::resolve(const ConfigTable& table, const std::string& prefix) {
  for (const auto& size : kArchs) {
    if (arch != size.name) continue;
    if (!table.is_set(prefix + ".embed_dim")) embed_dim = size.embed_dim;
    if (!table.is_set(prefix + ".depth")) depth = size.depth;
    if (!table.is_set(prefix + ".num_heads")) num_heads = size.num_heads;
  }
  check_vit(*this);
}

std::vector<std::string> vit_archs() {
  std::vector<std::string> names;
  for (const auto& size : kArchs) names.emplace_back(size.name);
  return names;
}

void check_patches(Size2 img_size, Size2 patch_size) {
  check_multiple("height", img_size.h, patch_size.h);
  check_multiple("width", img_size.w, patch_size.w);
}

void check_heads(int64_t embed_dim, int64_t num_heads) {
  if (embed_dim % num_heads != 0)
    fail(str("encoder.embed_dim ", embed_dim), str("not a multiple of num_heads ", num_heads),
         "choose heads that divide the width");
}

void check_vit(const ViTConfig& config) {
  check_patches(config.img_size, config.patch_size);
  check_heads(config.embed_dim, config.num_heads);
  if (config.pos_embed == "sincos2d-fixed" && config.embed_dim % 4 != 0)
    fail(str("encoder.embed_dim ", config.embed_dim), "a 2-D sine-cosine table needs a multiple of 4",
         str("use ", (config.embed_dim / 4 + 1) * 4, " or encoder.pos_embed = learned"));
}

torch::Tensor sincos_2d(int64_t dim, Size2 grid, int64_t prefix) {
  const int64_t quarter = dim / 4;
  LACUNA_ASSERT(quarter * 4 == dim);
  const auto omega = torch::arange(quarter, torch::kDouble)
                         .div_(static_cast<double>(quarter))
                         .mul_(-std::log(10000.0))
                         .exp_();
  const auto angles = [&](int64_t n) { return torch::outer(torch::arange(n, torch::kDouble), omega); };
  const auto wave = [](const Tensor& angle) { return torch::cat({angle.sin(), angle.cos()}, 1); };
  const auto column = wave(angles(grid.w)).unsqueeze(0).expand({grid.h, grid.w, dim / 2});
  const auto row = wave(angles(grid.h)).unsqueeze(1).expand({grid.h, grid.w, dim / 2});
  const auto table = torch::cat({column, row}, 2).view({grid.area(), dim});
  return torch::cat({torch::zeros({prefix, dim}, torch::kDouble), table}).unsqueeze(0).to(torch::kFloat);
}

torch::Tensor resize_pos_embed(const torch::Tensor& pos_embed, Size2 from, Size2 to, int64_t prefix) {
  if (from == to) return pos_embed;
  const int64_t dim = pos_embed.size(2);
  const auto patches = pos_embed.slice(1, prefix).reshape({1, from.h, from.w, dim}).permute({0, 3, 1, 2});
  const auto resized = at::upsample_bicubic2d(patches, {to.h, to.w}, /*align_corners=*/false);
  return torch::cat({pos_embed.slice(1, 0, prefix), resized.permute({0, 2, 3, 1}).flatten(1, 2)}, 1);
}

ViT::ViT(const ViTConfig& config) : config_(config) {
  check_vit(config);
  const int64_t D = config.embed_dim, prefix = prefix_tokens(), L = config.grid().area();
  if (config.class_token) cls_token_ = register_parameter("cls_token", torch::zeros({1, 1, D}));
  if (config.pos_embed == "learned")
    pos_embed_ = register_parameter("pos_embed", torch::zeros({1, prefix + L, D}));
  else if (config.pos_embed == "sincos2d-fixed")
    pos_embed_ =
        register_parameter("pos_embed", sincos_2d(D, config.grid(), prefix), /*requires_grad=*/false);
  patch_embed_ =
      register_module("patch_embed", std::make_shared<PatchEmbed>(config.in_chans, D, config.patch_size));
  const auto list = register_module("blocks", torch::nn::ModuleList());
  for (int64_t i = 0; i < config.depth; ++i) {
    const double share =
        config.depth > 1 ? static_cast<double>(i) / static_cast<double>(config.depth - 1) : 1.0;
    const BlockConfig block{D,
                            config.num_heads,
                            config.mlp_ratio,
                            config.qkv_bias,
                            config.norm_eps,
                            config.drop_path * share,
                            config.init_values};
    blocks_.push_back(std::make_shared<Block>(block, str("blocks.", i)));
    list->push_back(blocks_.back());
  }
  if (config.final_norm) norm_ = register_module("norm", std::make_shared<LayerNorm>(D, config.norm_eps));
}

void ViT::initialize(Draws& draws) {
  initialize_linears(*this, draws);
  const auto& proj = patch_embed_->proj();
  xavier_uniform_(proj->weight, draws, "patch_embed.proj.weight");
  const double fan_in = static_cast<double>(proj->weight.numel() / proj->weight.size(0));
  uniform_(proj->bias, 1 / std::sqrt(fan_in), draws, "patch_embed.proj.bias");
  if (config_.class_token) normal_(cls_token_, 0.02, draws, "cls_token");
  if (config_.pos_embed == "learned") normal_(pos_embed_, 0.02, draws, "pos_embed");
}

torch::Tensor ViT::embed(const torch::Tensor& image) const {
  const auto tokens = patch_embed_->forward(image);
  return pos_embed_.defined() ? tokens + pos_embed_.slice(1, prefix_tokens()) : tokens;
}

torch::Tensor ViT::embed_patches(const torch::Tensor& image, const torch::Tensor& ids) const {
  const auto tokens = patch_embed_->forward(image, ids);
  return pos_embed_.defined() ? tokens + gather_tokens(pos_embed_.slice(1, prefix_tokens()), ids) : tokens;
}

torch::Tensor ViT::positions(const torch::Tensor& ids) const {
  if (!pos_embed_.defined())
    return torch::zeros({1, 1, config_.embed_dim}, patch_embed_->proj()->weight.options());
  return gather_tokens(pos_embed_.slice(1, prefix_tokens()), ids);
}

torch::Tensor ViT::prepend_class(const torch::Tensor& tokens) const {
  if (!config_.class_token) return tokens;
  const auto token = pos_embed_.defined() ? cls_token_ + pos_embed_.slice(1, 0, 1) : cls_token_;
  return torch::cat({token.expand({tokens.size(0), -1, -1}), tokens}, 1);
}

torch::Tensor ViT::run_blocks(torch::Tensor tokens, Draws* draws) const {
  return nn::run_blocks(blocks_, std::move(tokens), draws);
}

torch::Tensor ViT::norm(const torch::Tensor& tokens) const { return norm_ ? norm_->forward(tokens) : tokens; }

torch::Tensor ViT::forward_features(const torch::Tensor& image) const {
  return norm(run_blocks(prepend_class(embed(image)), nullptr));
}

torch::Tensor ViT::pool(const torch::Tensor& tokens, const std::string& pool) const {
  if (pool == "avg") return tokens.slice(1, prefix_tokens()).mean(1);
  if (!config_.class_token) fail("pool 'token'", "the encoder has no class token", "use pool = avg");
  return tokens.select(1, 0);
}

}  // namespace lacuna::nn
