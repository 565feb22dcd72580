#include "lacuna/nn/swin.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/activation_checkpoint.h"
#include "lacuna/nn/init.h"
#include "lacuna/nn/swin_block.h"

namespace lacuna::nn {

namespace {

// Between regions that the cyclic shift made neighbours. Not -inf: with large logits the difference shows.
constexpr double kForbidden = -100;

}  // namespace

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

int64_t SwinConfig::stage_window(size_t stage) const { return window_of(stage_grid(stage), window_size); }

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
    const auto layer = std::make_shared<torch::nn::Module>();
    const auto list = layer->register_module("blocks", torch::nn::ModuleList());
    Stage stage;
    for (int64_t i = 0; i < config.depths[s]; ++i, ++done) {
      const double share = total > 1 ? static_cast<double>(done) / static_cast<double>(total - 1) : 1.0;
      const SwinBlockConfig block{.dim = config.stage_dim(s),
                                  .num_heads = config.num_heads[s],
                                  .window = window,
                                  .shift = shift_of(config.stage_grid(s), config.window_size, i),
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
