#include "lacuna/nn/swin.h"

#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "lacuna/core/error.h"
#include "lacuna/nn/activation_checkpoint.h"
#include "lacuna/nn/attention.h"
#include "lacuna/nn/init.h"
#include "lacuna/nn/kernels/branch.h"
#include "lacuna/nn/relative_position.h"

namespace lacuna::nn {

namespace {

// Between regions that the cyclic shift made neighbours. Not -inf: with large logits the difference shows.
constexpr double kForbidden = -100;

/// [B, H, W, C] -> [B, nW, M*M, C], windows in raster order.
Tensor to_windows(const Tensor& x, int64_t window) {
  const int64_t B = x.size(0), H = x.size(1), W = x.size(2), C = x.size(3);
  return x.reshape({B, H / window, window, W / window, window, C})
      .transpose(2, 3)
      .reshape({B, H / window * (W / window), window * window, C});
}

/// The way back: [B, nW, M*M, C] -> [B, H, W, C].
Tensor from_windows(const Tensor& windows, int64_t window, Size2 grid) {
  const int64_t B = windows.size(0), C = windows.size(3);
  return windows.view({B, grid.h / window, grid.w / window, window, window, C})
      .transpose(2, 3)
      .reshape({B, grid.h, grid.w, C});
}

/// [h*w]: the tokens of a shifted grid, window after window.
Tensor window_order(Size2 grid, int64_t window, int64_t shift) {
  auto tokens = torch::arange(grid.area()).view({1, grid.h, grid.w, 1});
  if (shift > 0) tokens = tokens.roll({-shift, -shift}, {1, 2});
  return to_windows(tokens, window).flatten().contiguous();
}

}  // namespace

/// Attention inside windows with relative position bias. x [B, nW, N, C] -> the same.
class WindowAttention : public torch::nn::Module {
 public:
  WindowAttention(int64_t dim, int64_t window, int64_t num_heads, bool qkv_bias) : num_heads_(num_heads) {
    const Size2 side{window, window};
    table_ = register_parameter("relative_position_bias_table",
                                torch::zeros({relative_table_rows(side, false), num_heads}));
    index_ = register_buffer("relative_position_index", relative_position_index(side, false));
    qkv_ = register_module("qkv", std::make_shared<Linear>(dim, 3 * dim, qkv_bias));
    proj_ = register_module("proj", std::make_shared<Linear>(dim, dim));
  }

  /// `mask` [nW, N, N], or undefined.
  Tensor forward(const Tensor& x, const Tensor& mask) const {
    const int64_t B = x.size(0), nW = x.size(1), N = x.size(2), C = x.size(3);
    const auto mixed =
        self_attention(qkv_->forward(x).view({B * nW, N, 3 * C}), num_heads_, logit_bias(mask));
    return proj_->forward(mixed.view({B, nW, N, C}));
  }

  /// x + forward(norm x) with the windows of `order` (kernels::Windows). x [B, h*w, C] -> the same.
  Tensor residual(const Tensor& x, const LayerNorm& norm, const Tensor& order, const Tensor& mask) const {
    const kernels::LinearWeights in{qkv_->weight, qkv_->bias}, out{proj_->weight, proj_->bias};
    return kernels::attention_branch(x, {norm.weight, norm.bias, norm.eps()}, in, out, num_heads_,
                                     {order, logit_bias(mask), index_.size(0)});
  }

  const Tensor& table() const { return table_; }

 private:
  /// [heads, N, N], or [nW, heads, N, N] with a mask.
  Tensor logit_bias(const Tensor& mask) const {
    const auto bias = relative_position_bias(table_, index_);
    return mask.defined() ? bias + mask.unsqueeze(1) : bias;
  }

  int64_t num_heads_;
  std::shared_ptr<Linear> qkv_, proj_;
  Tensor table_, index_;
};

struct SwinBlockConfig {
  int64_t dim, num_heads, window, shift;
  Size2 grid;
  double mlp_ratio, norm_eps, drop_path;
  bool qkv_bias;
};

/// x += attn(norm1 x) in windows, shifted or not; x += mlp(norm2 x). x [B, h*w, C]. `name` names its draws.
class SwinBlock : public torch::nn::Module {
 public:
  SwinBlock(const SwinBlockConfig& config, std::string name) : config_(config), name_(std::move(name)) {
    norm1_ = register_module("norm1", std::make_shared<LayerNorm>(config.dim, config.norm_eps));
    attn_ = register_module("attn", std::make_shared<WindowAttention>(config.dim, config.window,
                                                                      config.num_heads, config.qkv_bias));
    norm2_ = register_module("norm2", std::make_shared<LayerNorm>(config.dim, config.norm_eps));
    const auto hidden = static_cast<int64_t>(static_cast<double>(config.dim) * config.mlp_ratio);
    mlp_ = register_module("mlp", std::make_shared<Mlp>(config.dim, hidden));
    if (config.shift > 0)
      attn_mask_ =
          register_buffer("attn_mask", shifted_window_mask(config.grid, config.window, config.shift));
    order_ = window_order(config.grid, config.window, config.shift);
  }

  Tensor forward(const Tensor& x, Draws* draws) const {
    const bool plain = (!draws || config_.drop_path == 0) && kernels::serves(x);
    if (plain && config_.window * config_.window <= kShortSequence)
      return mlp_->residual(attn_->residual(x, *norm1_, order_, attn_mask_), *norm2_);
    const auto mixed = x + drop_path(attend(x), config_.drop_path, name_ + ".drop_path1", draws);
    return mixed +
           drop_path(mlp_->forward(norm2_->forward(mixed)), config_.drop_path, name_ + ".drop_path2", draws);
  }

  void initialize(Draws& draws) const {
    trunc_normal_(attn_->table(), 0.02, draws, name_ + ".attn.relative_position_bias_table");
  }

 private:
  Tensor attend(const Tensor& x) const {
    const int64_t B = x.size(0), C = x.size(2);
    const auto& [h, w] = config_.grid;
    auto map = norm1_->forward(x).view({B, h, w, C});
    if (config_.shift > 0) map = map.roll({-config_.shift, -config_.shift}, {1, 2});
    const auto windows = attn_->forward(to_windows(map, config_.window), attn_mask_);
    auto back = from_windows(windows, config_.window, config_.grid);
    if (config_.shift > 0) back = back.roll({config_.shift, config_.shift}, {1, 2});
    return back.view({B, h * w, C});
  }

  SwinBlockConfig config_;
  std::string name_;
  std::shared_ptr<LayerNorm> norm1_, norm2_;
  std::shared_ptr<WindowAttention> attn_;
  std::shared_ptr<Mlp> mlp_;
  Tensor attn_mask_, order_;
};

/// Two by two neighbours become one token of twice the width. x [B, h*w, C] -> [B, h*w/4, 2C].
class PatchMerging : public torch::nn::Module {
 public:
  PatchMerging(Size2 grid, int64_t dim, double norm_eps) : grid_(grid) {
    norm_ = register_module("norm", std::make_shared<LayerNorm>(4 * dim, norm_eps));
    reduction_ =
        register_module("reduction", std::make_shared<Linear>(4 * dim, 2 * dim, /*with_bias=*/false));
  }

  Tensor forward(const Tensor& x) const {
    const int64_t B = x.size(0), C = x.size(2);
    // Channels in the order (row, column) = (even, even), (odd, even), (even, odd), (odd, odd).
    const auto four = x.view({B, grid_.h / 2, 2, grid_.w / 2, 2, C})
                          .permute({0, 1, 3, 4, 2, 5})
                          .reshape({B, grid_.area() / 4, 4 * C});
    return reduction_->forward(norm_->forward(four));
  }

 private:
  Size2 grid_;
  std::shared_ptr<LayerNorm> norm_;
  std::shared_ptr<Linear> reduction_;
};

int64_t SwinConfig::stage_window(size_t stage) const {
  const Size2 grid = stage_grid(stage);
  return std::min({window_size, grid.h, grid.w});
}

namespace {

bool is_legal_side(const SwinConfig& config, Size2 img_size) {
  SwinConfig other = config;
  other.img_size = img_size;
  if (img_size.h % config.patch_size.h != 0 || img_size.w % config.patch_size.w != 0) return false;
  for (size_t stage = 0; stage < config.depths.size(); ++stage) {
    const Size2 grid = other.stage_grid(stage);
    if (grid.h == 0 || grid.w == 0 || grid.h << stage != other.grid().h || grid.w << stage != other.grid().w)
      return false;
    const int64_t window = other.stage_window(stage);
    if (grid.h % window != 0 || grid.w % window != 0) return false;
  }
  return true;
}

/// The nearest legal square sizes below and above.
std::string legal_sizes(const SwinConfig& config) {
  const int64_t side = std::max(config.img_size.h, config.img_size.w), reach = 4 * side + 64;
  std::vector<std::string> sizes;
  for (int64_t below = side - 1; below > 0 && sizes.empty(); --below)
    if (is_legal_side(config, {below, below})) sizes.push_back(str(below));
  for (int64_t above = side; above < reach; ++above)
    if (is_legal_side(config, {above, above})) {
      sizes.push_back(str(above));
      break;
    }
  return sizes.empty() ? "use another window_size or fewer stages"
                       : "the nearest legal square sizes are " + join(sizes, " and ");
}

}  // namespace

void check_swin(const SwinConfig& config) {
  if (config.depths.empty() || config.depths.size() != config.num_heads.size())
    fail("encoder.depths and encoder.num_heads",
         str(config.depths.size(), " and ", config.num_heads.size(), " stages"),
         "give one number for each stage in both");
  for (size_t stage = 0; stage < config.depths.size(); ++stage)
    if (config.stage_dim(stage) % config.num_heads[stage] != 0)
      fail(str("encoder.num_heads ", config.num_heads[stage]),
           str("does not divide stage ", stage, "'s width ", config.stage_dim(stage)),
           "choose heads that divide embed_dim times 2 to the stage's number");
  if (!is_legal_side(config, config.img_size))
    fail(str("encoder.img_size ", config.img_size),
         str("its ", config.patch_size, " patches can't be halved ", config.depths.size() - 1,
             " times into windows of ", config.window_size),
         legal_sizes(config));
}

torch::Tensor shifted_window_mask(Size2 grid, int64_t window, int64_t shift) {
  auto region = torch::zeros({1, grid.h, grid.w, 1});
  const auto edges = [&](int64_t side) {
    return std::array<int64_t, 4>{0, side - window, side - shift, side};
  };
  const auto rows = edges(grid.h), columns = edges(grid.w);
  for (size_t r = 0; r < 3; ++r)
    for (size_t c = 0; c < 3; ++c)
      region.slice(1, rows[r], rows[r + 1])
          .slice(2, columns[c], columns[c + 1])
          .fill_(static_cast<double>(3 * r + c));
  const auto windows = to_windows(region, window)[0].squeeze(-1);  // [nW, M*M]
  return windows.unsqueeze(1).ne(windows.unsqueeze(2)).to(torch::kFloat).mul_(kForbidden);
}

Swin::Swin(const SwinConfig& config) : config_(config) {
  check_swin(config);
  const int64_t C = config.embed_dim;
  patch_embed_ =
      register_module("patch_embed", std::make_shared<PatchEmbed>(config.in_chans, C, config.patch_size));
  if (config.patch_norm)
    patch_norm_ = patch_embed_->register_module("norm", std::make_shared<LayerNorm>(C, config.norm_eps));
  if (config.mask_token) mask_token_ = register_parameter("mask_token", torch::zeros({1, 1, C}));
  if (config.ape)
    absolute_pos_embed_ =
        register_parameter("absolute_pos_embed", torch::zeros({1, config.grid().area(), C}));
  const int64_t total = std::accumulate(config.depths.begin(), config.depths.end(), int64_t{0});
  int64_t done = 0;
  const auto layers = register_module("layers", torch::nn::ModuleList());
  for (size_t s = 0; s < config.depths.size(); ++s) {
    const int64_t window = config.stage_window(s);
    const bool whole = std::min(config.stage_grid(s).h, config.stage_grid(s).w) <= config.window_size;
    const auto layer = std::make_shared<torch::nn::Module>();
    const auto list = layer->register_module("blocks", torch::nn::ModuleList());
    Stage stage;
    for (int64_t i = 0; i < config.depths[s]; ++i, ++done) {
      const double share = total > 1 ? static_cast<double>(done) / static_cast<double>(total - 1) : 1.0;
      const SwinBlockConfig block{.dim = config.stage_dim(s),
                                  .num_heads = config.num_heads[s],
                                  .window = window,
                                  .shift = i % 2 == 0 || whole ? 0 : config.window_size / 2,
                                  .grid = config.stage_grid(s),
                                  .mlp_ratio = config.mlp_ratio,
                                  .norm_eps = config.norm_eps,
                                  .drop_path = config.drop_path * share,
                                  .qkv_bias = config.qkv_bias};
      stage.blocks.push_back(std::make_shared<SwinBlock>(block, str("layers.", s, ".blocks.", i)));
      list->push_back(stage.blocks.back());
    }
    if (s + 1 < config.depths.size())
      stage.downsample = layer->register_module(
          "downsample",
          std::make_shared<PatchMerging>(config.stage_grid(s), config.stage_dim(s), config.norm_eps));
    layers->push_back(layer);
    stages_.push_back(std::move(stage));
  }
  norm_ = register_module("norm", std::make_shared<LayerNorm>(num_features(), config.norm_eps));
}

void Swin::initialize(Draws& draws) {
  for (const auto& child : named_modules("", /*include_self=*/false))
    if (const auto linear = std::dynamic_pointer_cast<Linear>(child.value()))
      trunc_normal_(linear->weight, 0.02, draws, child.key() + ".weight");
  default_conv_init_(patch_embed_->proj()->weight, patch_embed_->proj()->bias, draws, "patch_embed.proj");
  for (const auto& stage : stages_)
    for (const auto& block : stage.blocks) block->initialize(draws);
  if (config_.mask_token) trunc_normal_(mask_token_, 0.02, draws, "mask_token");
  if (config_.ape) trunc_normal_(absolute_pos_embed_, 0.02, draws, "absolute_pos_embed");
}

torch::Tensor Swin::embed(const torch::Tensor& image, const torch::Tensor& hidden) const {
  auto x = patch_embed_->forward(image);
  if (patch_norm_) x = patch_norm_->forward(x);
  if (hidden.defined()) x = at::where(hidden.flatten(1).unsqueeze(-1), mask_token_.to(x.dtype()), x);
  return config_.ape ? x + absolute_pos_embed_ : x;
}

torch::Tensor Swin::forward(const torch::Tensor& image, const torch::Tensor& hidden, Draws* draws) const {
  auto x = embed(image, hidden);
  for (const auto& stage : stages_) {
    for (const auto& block : stage.blocks)
      x = run_block([&block = *block, draws](const auto& in) { return block.forward(in[0], draws); }, {x});
    if (stage.downsample) x = stage.downsample->forward(x);
    if (x.is_cpu() && x.scalar_type() == torch::kBFloat16) x = x.to(torch::kFloat);  // as kernels::serves
  }
  return norm_->forward(x);
}

torch::Tensor Swin::pooled(const torch::Tensor& image, const std::string& pool) const {
  if (pool == "token") fail("pool 'token'", "a Swin encoder has no class token", "use pool = avg");
  return forward(image, {}, nullptr).mean(1);
}

Size2 Swin::stride() const {
  const auto factor = int64_t{1} << (config_.depths.size() - 1);
  return {config_.patch_size.h * factor, config_.patch_size.w * factor};
}

// The official code means to spare the relative tables too, but its keyword ("encoder." in front) never
// matches a name, so it decays them; so do we.
bool Swin::spared_by_decay(const std::string& name) const {
  return name == "mask_token" || name == "absolute_pos_embed";
}

}  // namespace lacuna::nn
