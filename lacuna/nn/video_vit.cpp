#include "lacuna/nn/video_vit.h"

#include <cmath>
#include <optional>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/init.h"
#include "lacuna/nn/vit.h"

namespace lacuna::nn {

namespace {

constexpr double kInitStd = 0.02;

struct Arch {
  const char* name;
  int64_t embed_dim, depth, num_heads;
  double mlp_ratio;
};
// vjepa2's vision_transformer.py; the ratios of giant and gigantic are 48/11 and 64/13.
constexpr Arch kArchs[] = {{"vit_tiny", 192, 12, 3, 4},
                           {"vit_small", 384, 12, 6, 4},
                           {"vit_base", 768, 12, 12, 4},
                           {"vit_large", 1024, 24, 16, 4},
                           {"vit_huge", 1280, 32, 16, 4},
                           {"vit_giant", 1408, 40, 16, 48.0 / 11},
                           {"vit_gigantic", 1664, 48, 16, 64.0 / 13}};

/// [n, width]: sines, then cosines, of 0 .. n-1.
Tensor waves(int64_t n, int64_t width) {
  const int64_t half = width / 2;
  const auto omega =
      torch::arange(half, torch::kDouble).div_(static_cast<double>(half)).mul_(-std::log(10000.0)).exp_();
  const auto angle = torch::outer(torch::arange(n, torch::kDouble), omega);
  return torch::cat({angle.sin(), angle.cos()}, 1);
}

/// Widths of the parts for time, row and column.
std::array<int64_t, 3> sincos_widths(int64_t dim, bool uniform_power) {
  const int64_t sixth = (dim + 5) / 6;
  if (uniform_power) return {2 * sixth, 2 * sixth, 2 * sixth};
  return {dim / 2, dim / 4, dim / 4};
}

void initialize_blocks(const std::vector<std::shared_ptr<Block>>& blocks) {
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < blocks.size(); ++i)
    for (const auto& end : blocks[i]->branch_ends())
      end->weight.div_(std::sqrt(2.0 * static_cast<double>(i + 1)));
}

void initialize_all_linears(torch::nn::Module& module, Draws& draws, const std::string& name) {
  for (const auto& child : module.named_modules(name))
    if (const auto linear = std::dynamic_pointer_cast<Linear>(child.value()))
      trunc_normal_(linear->weight, kInitStd, draws, child.key() + ".weight");
}

BlockConfig block_config(const VideoViTConfig& encoder, int64_t dim, int64_t heads) {
  return {.dim = dim,
          .num_heads = heads,
          .mlp_ratio = encoder.mlp_ratio,
          .qkv_bias = encoder.qkv_bias,
          .norm_eps = encoder.norm_eps};
}

void check_width(const std::string& key, int64_t dim, int64_t heads, const VideoViTConfig& encoder) {
  if (dim % heads != 0)
    fail(str(key, ".embed_dim ", dim), str("not a multiple of num_heads ", heads),
         "choose heads that divide the width");
  if (encoder.use_rope && (dim / heads) % 2 != 0)
    fail(str(key, ".num_heads ", heads), str("heads ", dim / heads, " wide can't be turned in pairs (RoPE)"),
         "choose heads of an even width");
  if (!encoder.use_rope) check_sincos_3d(key, dim, encoder.uniform_power);
}

}  // namespace

struct VideoViT::CubeEmbed : torch::nn::Module {
  /// The kernel of the convolution.
  struct Kernel : torch::nn::Module {
    explicit Kernel(const VideoViTConfig& config) {
      weight =
          register_parameter("weight", torch::zeros({config.embed_dim, config.in_chans, config.tubelet_size,
                                                     config.patch_size.h, config.patch_size.w}));
      bias = register_parameter("bias", torch::zeros({config.embed_dim}));
    }
    Tensor weight, bias;
  };
  explicit CubeEmbed(const VideoViTConfig& config) : frames(config.tubelet_size), patch(config.patch_size) {
    proj = register_module("proj", std::make_shared<Kernel>(config));
  }
  Tensor forward(const Tensor& video, const Tensor& ids) const {
    const auto cubes = gather_cubes(cube_view(video, frames, patch), ids).flatten(2);
    return at::linear(cubes, proj->weight.flatten(1), proj->bias);
  }
  int64_t frames;
  Size2 patch;
  std::shared_ptr<Kernel> proj;
};

void VideoViTConfig::fields(Fields& f) {
  size_fields(f);
  input_fields(f);
}

void VideoViTConfig::input_fields(Fields& f) {
  f("img_size", img_size, "height and width of the input in pixels").range(1, 1 << 16);
  f("patch_size", patch_size, "height and width of a cube in pixels").range(1, 1 << 12);
  f("num_frames", num_frames, "frames of a clip").range(1, 1 << 16);
  f("tubelet_size", tubelet_size, "frames of a cube").range(1, 1 << 12);
  f("in_chans", in_chans, "channels of the input; taken from the data unless given").range(1, 1 << 12);
}

void VideoViTConfig::size_fields(Fields& f) {
  std::vector<std::string> archs{"vit"};
  for (const auto& size : kArchs) archs.emplace_back(size.name);
  f("arch", arch, "named size; fills embed_dim, depth, num_heads and mlp_ratio unless they are given")
      .choices(archs);
  f("embed_dim", embed_dim, "width of the tokens").range(1);
  f("depth", depth, "number of blocks").range(1);
  f("num_heads", num_heads, "attention heads of a block").range(1);
  f("mlp_ratio", mlp_ratio, "hidden width of the MLP over embed_dim").range(0);
  f("qkv_bias", qkv_bias, "bias in the q, k, v projection");
  f("norm_eps", norm_eps, "epsilon of the layer norms").range(0);
  f("use_rope", use_rope,
    "positions: rotary in every attention (V-JEPA 2), else a sine-cosine table (V-JEPA)");
  f("uniform_power", uniform_power, "table: equal parts for time, row and column, else 1/2, 1/4, 1/4");
  f("drop_path", drop_path, "stochastic depth rate of the last block, growing from 0").range(0, 0.99);
}

void VideoViTConfig::resolve(const ConfigTable& table, const std::string& prefix) {
  for (const auto& size : kArchs) {
    if (arch != size.name) continue;
    if (!table.is_set(prefix + ".embed_dim")) embed_dim = size.embed_dim;
    if (!table.is_set(prefix + ".depth")) depth = size.depth;
    if (!table.is_set(prefix + ".num_heads")) num_heads = size.num_heads;
    if (!table.is_set(prefix + ".mlp_ratio")) mlp_ratio = size.mlp_ratio;
  }
  check_patches(img_size, patch_size);
  if (num_frames % tubelet_size != 0)
    fail(str("encoder.num_frames ", num_frames), str("not a multiple of tubelet_size ", tubelet_size),
         str("the next legal number is ", (num_frames / tubelet_size + 1) * tubelet_size));
  check_width(prefix, embed_dim, num_heads, *this);
}

void VideoViTConfig::read_as(const VideoViTConfig& other) {
  img_size = other.img_size, patch_size = other.patch_size;
  num_frames = other.num_frames, tubelet_size = other.tubelet_size, in_chans = other.in_chans;
}

Tensor sincos_3d(int64_t dim, const Grid3& grid, bool uniform_power) {
  const auto [t, h, w] = sincos_widths(dim, uniform_power);
  const auto time = waves(grid.t, t).view({grid.t, 1, 1, t}).expand({-1, grid.h, grid.w, -1});
  const auto row = waves(grid.h, h).view({1, grid.h, 1, h}).expand({grid.t, -1, grid.w, -1});
  const auto column = waves(grid.w, w).view({1, 1, grid.w, w}).expand({grid.t, grid.h, -1, -1});
  return torch::cat({time, row, column}, 3)
      .slice(3, 0, dim)
      .reshape({1, grid.count(), dim})
      .to(torch::kFloat);
}

void check_sincos_3d(const std::string& key, int64_t dim, bool uniform_power) {
  if (uniform_power || dim % 8 == 0) return;
  fail(str(key, ".embed_dim ", dim), "a 3-D sine-cosine table of halves and quarters needs a multiple of 8",
       str("use ", (dim / 8 + 1) * 8, " or uniform_power = true"));
}

Tensor cube_view(const Tensor& video, int64_t frames, Size2 patch) {
  const int64_t B = video.size(0), C = video.size(1), t = video.size(2) / frames, h = video.size(3) / patch.h,
                w = video.size(4) / patch.w;
  LACUNA_ASSERT(t * frames == video.size(2) && h * patch.h == video.size(3) && w * patch.w == video.size(4));
  return video.reshape({B, C, t, frames, h, patch.h, w, patch.w}).permute({0, 2, 4, 6, 1, 3, 5, 7});
}

Tensor gather_cubes(const Tensor& view, const Tensor& ids) {
  const auto batch = torch::arange(view.size(0), ids.options()).unsqueeze(1);
  const int64_t width = view.size(3), plane = view.size(2) * width;
  const auto in_plane = ids.remainder(plane);
  return view.index(
      {batch, ids.div(plane, "floor"), in_plane.div(width, "floor"), in_plane.remainder(width)});
}

Tensor all_tokens(int64_t batch, int64_t count, torch::Device device) {
  return torch::arange(count, torch::TensorOptions().dtype(torch::kLong).device(device)).expand({batch, -1});
}

VideoViT::VideoViT(const VideoViTConfig& config) : config_(config) {
  patch_embed_ = register_module("patch_embed", std::make_shared<CubeEmbed>(config));
  if (!config.use_rope)
    pos_embed_ =
        register_parameter("pos_embed", sincos_3d(config.embed_dim, config.grid(), config.uniform_power),
                           /*requires_grad=*/false);
  const auto list = register_module("blocks", torch::nn::ModuleList());
  for (int64_t i = 0; i < config.depth; ++i) {
    auto block = block_config(config, config.embed_dim, config.num_heads);
    if (config.depth > 1)
      block.drop_path = config.drop_path * static_cast<double>(i) / static_cast<double>(config.depth - 1);
    blocks_.push_back(std::make_shared<Block>(block, str("blocks.", i)));
    list->push_back(blocks_.back());
  }
  norm_ = register_module("norm", std::make_shared<LayerNorm>(config.embed_dim, config.norm_eps));
}

void VideoViT::initialize(Draws& draws, const std::string& name) {
  initialize_all_linears(*this, draws, name);
  trunc_normal_(patch_embed_->proj->weight, kInitStd, draws, name + ".patch_embed.proj.weight");
  initialize_blocks(blocks_);
}

Tensor VideoViT::forward(const Tensor& video, const Tensor& ids, Draws* draws) const {
  auto tokens = patch_embed_->forward(video, ids);  // [B, K, D]
  if (pos_embed_.defined()) tokens = tokens + gather_tokens(pos_embed_, ids);
  std::optional<Rotation> rotation;
  if (config_.use_rope) rotation = rotation_3d(ids, config_.grid(), config_.embed_dim / config_.num_heads);
  return norm_->forward(run_blocks(blocks_, tokens, draws, rotation ? &*rotation : nullptr));
}

Tensor VideoViT::forward(const Tensor& video) const {
  return forward(video, all_tokens(video.size(0), config_.grid().count(), video.device()));
}

void VideoPredictorConfig::fields(Fields& f) {
  f("embed_dim", embed_dim, "width of the predictor's tokens").range(1);
  f("depth", depth, "number of its blocks").range(1);
  f("num_heads", num_heads, "attention heads of a block").range(1);
  f("num_mask_tokens", num_mask_tokens,
    "learned mask tokens, taken in turn by the groups of masks; 0: one each")
      .range(0);
}

VideoPredictor::VideoPredictor(const VideoPredictorConfig& config, const VideoViTConfig& encoder,
                               int64_t outputs)
    : config_(config), grid_(encoder.grid()) {
  check_width("predictor", config.embed_dim, config.num_heads, encoder);
  embed_ = register_module("predictor_embed", std::make_shared<Linear>(encoder.embed_dim, config.embed_dim));
  const auto tokens = register_module("mask_tokens", std::make_shared<torch::nn::Module>());
  for (int64_t i = 0; i < config.num_mask_tokens; ++i)
    mask_tokens_.push_back(tokens->register_parameter(str(i), torch::zeros({1, 1, config.embed_dim})));
  if (!encoder.use_rope)
    pos_embed_ =
        register_parameter("predictor_pos_embed", sincos_3d(config.embed_dim, grid_, encoder.uniform_power),
                           /*requires_grad=*/false);
  const auto list = register_module("predictor_blocks", torch::nn::ModuleList());
  for (int64_t i = 0; i < config.depth; ++i) {
    blocks_.push_back(std::make_shared<Block>(block_config(encoder, config.embed_dim, config.num_heads),
                                              str("predictor_blocks.", i)));
    list->push_back(blocks_.back());
  }
  norm_ = register_module("predictor_norm", std::make_shared<LayerNorm>(config.embed_dim, encoder.norm_eps));
  proj_ = register_module("predictor_proj", std::make_shared<Linear>(config.embed_dim, outputs));
}

void VideoPredictor::initialize(Draws& draws, const std::string& name) {
  initialize_all_linears(*this, draws, name);
  initialize_blocks(blocks_);
}

Tensor VideoPredictor::forward(const Tensor& context, const Tensor& context_ids, const Tensor& target_ids,
                               int64_t group) const {
  const int64_t B = context.size(0), M = target_ids.size(1), tokens = std::ssize(mask_tokens_);
  auto seen = embed_->forward(context);  // [B, K, P]
  auto asked = mask_tokens_[static_cast<size_t>(group % tokens)].to(seen.dtype()).expand({B, M, -1});
  if (pos_embed_.defined()) {
    seen = seen + gather_tokens(pos_embed_, context_ids);
    asked = asked + gather_tokens(pos_embed_, target_ids);
  }
  std::optional<Rotation> rotation;
  if (!pos_embed_.defined())
    rotation =
        rotation_3d(torch::cat({context_ids, target_ids}, 1), grid_, config_.embed_dim / config_.num_heads);
  const auto mixed =
      run_blocks(blocks_, torch::cat({seen, asked}, 1), nullptr, rotation ? &*rotation : nullptr);
  return proj_->forward(norm_->forward(mixed.slice(1, context.size(1))));
}

}  // namespace lacuna::nn
