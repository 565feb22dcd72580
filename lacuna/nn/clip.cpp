#include "lacuna/nn/clip.h"

#include <cmath>
#include <limits>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/init.h"
#include "lacuna/nn/vit.h"

namespace lacuna::nn {

namespace {

constexpr double kTokenStd = 0.02, kTextPositionStd = 0.01;

/// A published network: image tower, text tower, shared space.
struct Arch {
  const char* name;
  int64_t img_size, patch_size, width, depth, heads, text_width, text_depth, text_heads, dim;
};
constexpr Arch kArchs[] = {{"clip_vit_b32", 224, 32, 768, 12, 12, 512, 12, 8, 512},
                           {"clip_vit_b16", 224, 16, 768, 12, 12, 512, 12, 8, 512},
                           {"clip_vit_l14", 224, 14, 1024, 24, 16, 768, 12, 12, 768},
                           {"clip_vit_l14_336", 336, 14, 1024, 24, 16, 768, 12, 12, 768}};

ClipBlocksConfig blocks_of(int64_t dim, int64_t depth, int64_t heads, double ratio, const std::string& act,
                           double eps) {
  return {dim, depth, heads, std::lround(static_cast<double>(dim) * ratio), act, eps};
}

/// [1, U, U]: 0 where a token is seen, -inf where it lies ahead.
Tensor causal_bias(int64_t length, const Tensor& like) {
  const auto unseen = torch::full({1, length, length}, -std::numeric_limits<float>::infinity(),
                                  torch::dtype(torch::kFloat).device(like.device()));
  return unseen.triu(1);
}

void act_field(Fields& f, std::string& act) {
  f("act", act, "between a block's two linear layers: OpenAI's x sigmoid(1.702 x), or exact GELU (LAION)")
      .choices({"quick_gelu", "gelu"});
}

}  // namespace

std::vector<std::string> clip_archs() {
  std::vector<std::string> out{"clip_vit"};
  for (const auto& arch : kArchs) out.emplace_back(arch.name);
  return out;
}

void ClipVisionConfig::fields(Fields& f) {
  f("arch", arch, "sizes of both towers; clip_vit: as the other keys say").choices(clip_archs());
  f("img_size", img_size, "height and width of the pictures").range(1);
  f("patch_size", patch_size, "height and width of a patch").range(1);
  f("stride", stride, "from one patch to the next; 0: patch_size, smaller: patches overlap").range(0);
  f("in_chans", in_chans, "channels of the pictures").range(1);
  f("embed_dim", embed_dim, "width of the image tower").range(1);
  f("depth", depth, "its blocks").range(1);
  f("num_heads", num_heads, "its attention heads").range(1);
  f("mlp_ratio", mlp_ratio, "hidden width of its MLPs over the width").range(0.01);
  act_field(f, act);
  f("norm_eps", norm_eps, "added to the variance in layer norms").range(0);
}

Size2 ClipVisionConfig::grid() const {
  const auto s = step();
  return {(img_size.h - patch_size.h) / s.h + 1, (img_size.w - patch_size.w) / s.w + 1};
}

void ClipVisionConfig::check() const {
  if (step() == patch_size) check_patches(img_size, patch_size);
  if (img_size.h < patch_size.h || img_size.w < patch_size.w)
    fail("encoder.patch_size", str("a patch of ", patch_size, " does not fit into ", img_size),
         "use smaller patches or larger pictures");
  check_heads(embed_dim, num_heads);
}

void ClipTextConfig::fields(Fields& f) {
  f("context_length", context_length, "tokens of a text, its start and end included; longer ones are cut")
      .range(2);
  f("vocab_size", vocab_size, "tokens there are; 0: those of the tokenizer").range(0);
  f("embed_dim", embed_dim, "width of the text tower").range(1);
  f("depth", depth, "its blocks").range(1);
  f("num_heads", num_heads, "its attention heads").range(1);
  f("mlp_ratio", mlp_ratio, "hidden width of its MLPs over the width").range(0.01);
  act_field(f, act);
  f("norm_eps", norm_eps, "added to the variance in layer norms").range(0);
}

void ClipTextConfig::check() const { check_heads(embed_dim, num_heads); }

void resolve_clip(const ConfigTable& table, ClipVisionConfig& vision, ClipTextConfig& text, int64_t& dim) {
  for (const auto& arch : kArchs) {
    if (vision.arch != arch.name) continue;
    const auto fill = [&](const char* key, auto& value, auto known) {
      if (!table.is_set(key)) value = known;
    };
    fill("encoder.img_size", vision.img_size, Size2{arch.img_size, arch.img_size});
    fill("encoder.patch_size", vision.patch_size, Size2{arch.patch_size, arch.patch_size});
    fill("encoder.embed_dim", vision.embed_dim, arch.width);
    fill("encoder.depth", vision.depth, arch.depth);
    fill("encoder.num_heads", vision.num_heads, arch.heads);
    fill("text.embed_dim", text.embed_dim, arch.text_width);
    fill("text.depth", text.depth, arch.text_depth);
    fill("text.num_heads", text.num_heads, arch.text_heads);
    fill("projection.dim", dim, arch.dim);
  }
  vision.check();
  text.check();
}

ClipVision::ClipVision(const ClipVisionConfig& config, int64_t output_dim) : config_(config) {
  const int64_t W = config.embed_dim;
  class_embedding_ = register_parameter("class_embedding", torch::zeros({W}));
  positional_embedding_ =
      register_parameter("positional_embedding", torch::zeros({1 + config.grid().area(), W}));
  proj_ = register_parameter("proj", torch::zeros({W, output_dim}));
  const auto conv = register_module("conv1", std::make_shared<torch::nn::Module>());
  conv1_ = conv->register_parameter(
      "weight", torch::zeros({W, config.in_chans, config.patch_size.h, config.patch_size.w}));
  ln_pre_ = register_module("ln_pre", std::make_shared<LayerNorm>(W, config.norm_eps));
  transformer_ = register_module(
      "transformer", std::make_shared<ClipBlocks>(blocks_of(W, config.depth, config.num_heads,
                                                            config.mlp_ratio, config.act, config.norm_eps)));
  ln_post_ = register_module("ln_post", std::make_shared<LayerNorm>(W, config.norm_eps));
}

void ClipVision::initialize(Draws& draws, const std::string& prefix) {
  const double scale = std::pow(static_cast<double>(config_.embed_dim), -0.5);
  normal_(class_embedding_, scale, draws, prefix + "class_embedding");
  normal_(positional_embedding_, scale, draws, prefix + "positional_embedding");
  normal_(proj_, scale, draws, prefix + "proj");
  default_conv_init_(conv1_, {}, draws, prefix + "conv1");
  transformer_->initialize(draws, prefix + "transformer.", /*normal=*/false);
}

Tensor ClipVision::hidden(const Tensor& image, int64_t layer, const WeightHook* hook) const {
  const int64_t count = layer < 0 ? transformer_->depth() + 1 + layer : layer;
  LACUNA_ASSERT(count >= 0 && count <= transformer_->depth());
  const auto kernel = hook ? (*hook)("conv1.weight", conv1_) : conv1_;
  const auto step = config_.step();
  const auto patches =
      step == config_.patch_size
          ? at::linear(patch_view(image, step).flatten(3).flatten(1, 2), kernel.flatten(1))
          : at::conv2d(image, kernel, {}, {step.h, step.w}).flatten(2).transpose(1, 2);  // [B, N, W]
  const auto token = class_embedding_.to(patches.dtype()).expand({image.size(0), 1, -1});
  const auto x = ln_pre_->forward(torch::cat({token, patches}, 1) + positional_embedding_);
  return transformer_->forward(x, count, {}, hook);
}

Tensor ClipVision::tokens(const Tensor& image, const WeightHook* hook) const {
  return project(norm(hidden(image, -1, hook)));
}

Tensor ClipVision::forward(const Tensor& image, const WeightHook* hook) const {
  return project(norm(hidden(image, -1, hook).select(1, 0)));
}

ClipText::ClipText(const ClipTextConfig& config, int64_t output_dim) : config_(config) {
  const int64_t W = config.embed_dim;
  const auto table = register_module("token_embedding", std::make_shared<torch::nn::Module>());
  token_embedding_ = table->register_parameter("weight", torch::zeros({config.vocab_size, W}));
  positional_embedding_ =
      register_parameter("positional_embedding", torch::zeros({config.context_length, W}));
  text_projection_ = register_parameter("text_projection", torch::zeros({W, output_dim}));
  transformer_ = register_module(
      "transformer", std::make_shared<ClipBlocks>(blocks_of(W, config.depth, config.num_heads,
                                                            config.mlp_ratio, config.act, config.norm_eps)));
  ln_final_ = register_module("ln_final", std::make_shared<LayerNorm>(W, config.norm_eps));
}

void ClipText::initialize(Draws& draws) {
  normal_(token_embedding_, kTokenStd, draws, "token_embedding.weight");
  normal_(positional_embedding_, kTextPositionStd, draws, "positional_embedding");
  normal_(text_projection_, std::pow(static_cast<double>(config_.embed_dim), -0.5), draws, "text_projection");
  transformer_->initialize(draws, "transformer.", /*normal=*/true);
}

Tensor ClipText::hidden(const Tensor& tokens, const Tensor& attended) const {
  const int64_t U = tokens.size(1);
  LACUNA_ASSERT(U <= config_.context_length);
  const auto x = at::embedding(token_embedding_, tokens.clamp_min(0)) + positional_embedding_.slice(0, 0, U);
  auto bias = causal_bias(U, x);
  if (attended.defined()) {
    // The least number instead of -inf: a row may see nothing at all.
    const double least = std::numeric_limits<float>::lowest();
    const auto padding = (1 - attended.to(torch::kFloat)).view({-1, 1, 1, U}) * least;
    bias = torch::where(bias < 0, torch::full_like(bias, least), padding.expand({-1, 1, U, U}));
  }
  return ln_final_->forward(transformer_->forward(x, transformer_->depth(), bias, nullptr));
}

Tensor ClipText::forward(const Tensor& tokens, Tensor end) const {
  if (!end.defined()) end = tokens.argmax(1);
  return project(rows_at(hidden(tokens), end));
}

Tensor unit_rows(const Tensor& x) {
  return x / at::linalg_vector_norm(x, 2, at::OptionalIntArrayRef({-1}), /*keepdim=*/true);
}

Tensor rows_at(const Tensor& x, const Tensor& at) {
  return gather_tokens(x, at.to(x.device()).unsqueeze(1)).squeeze(1);
}

Tensor resize_clip_positions(const Tensor& positions, Size2 from, Size2 to) {
  if (from == to) return positions;
  const auto grid = positions.slice(0, 1).t().reshape({1, positions.size(1), from.h, from.w});
  const auto resized = at::upsample_bilinear2d(grid, {to.h, to.w}, /*align_corners=*/false);
  return torch::cat({positions.slice(0, 0, 1), resized.flatten(2).squeeze(0).t()});
}

}  // namespace lacuna::nn
