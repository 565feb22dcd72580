#include "lacuna/nn/clip_blocks.h"

#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/activation_checkpoint.h"
#include "lacuna/nn/attention.h"
#include "lacuna/nn/init.h"
#include "lacuna/nn/kernels/branch.h"

namespace lacuna::nn {

namespace {

/// torch.nn.MultiheadAttention's names.
struct PackedAttention : torch::nn::Module {
  explicit PackedAttention(int64_t dim) {
    weight = register_parameter("in_proj_weight", torch::zeros({3 * dim, dim}));
    bias = register_parameter("in_proj_bias", torch::zeros({3 * dim}));
    out = register_module("out_proj", std::make_shared<Linear>(dim, dim));
  }
  Tensor weight, bias;
  std::shared_ptr<Linear> out;
};

Tensor activated(const Tensor& x, bool quick) { return quick ? x * torch::sigmoid(1.702 * x) : at::gelu(x); }

}  // namespace

struct ClipBlocks::Block : torch::nn::Module {
  Block(const ClipBlocksConfig& config, int64_t index)
      : name(str("transformer.resblocks.", index, ".")),
        num_heads(config.num_heads),
        quick(config.act == "quick_gelu") {
    ln_1 = register_module("ln_1", std::make_shared<LayerNorm>(config.dim, config.norm_eps));
    attn = register_module("attn", std::make_shared<PackedAttention>(config.dim));
    ln_2 = register_module("ln_2", std::make_shared<LayerNorm>(config.dim, config.norm_eps));
    const auto mlp = register_module("mlp", std::make_shared<torch::nn::Module>());
    c_fc = mlp->register_module("c_fc", std::make_shared<Linear>(config.dim, config.hidden_dim));
    c_proj = mlp->register_module("c_proj", std::make_shared<Linear>(config.hidden_dim, config.dim));
  }

  Tensor forward(const Tensor& input, const Tensor& bias, const WeightHook* hook) const {
    const auto used = [&](const char* part, const Tensor& weight) {
      return hook ? (*hook)(name + part, weight) : weight;
    };
    const auto x = attend(input, used("attn.in_proj_weight", attn->weight),
                          used("attn.out_proj.weight", attn->out->weight), bias);
    return widen(x, used("mlp.c_fc.weight", c_fc->weight), used("mlp.c_proj.weight", c_proj->weight));
  }

  Tensor attend(const Tensor& x, const Tensor& in, const Tensor& out, const Tensor& bias) const {
    if (kernels::serves(x) && is_short(x) && (!bias.defined() || bias.dim() == 3))
      return kernels::attention_branch(x, {ln_1->weight, ln_1->bias, ln_1->eps()}, {in, attn->bias},
                                       {out, attn->out->bias}, num_heads, {{}, bias, x.size(1)});
    const auto qkv = at::linear(ln_1->forward(x), in, attn->bias);
    return x + at::linear(self_attention(qkv, num_heads, bias), out, attn->out->bias);
  }

  Tensor widen(const Tensor& x, const Tensor& in, const Tensor& out) const {
    if (!quick && kernels::serves(x))
      return kernels::mlp_branch(x, {ln_2->weight, ln_2->bias, ln_2->eps()}, {in, c_fc->bias},
                                 {out, c_proj->bias});
    const auto hidden = at::linear(ln_2->forward(x), in, c_fc->bias);
    return x + at::linear(activated(hidden, quick), out, c_proj->bias);
  }

  std::string name;
  int64_t num_heads;
  bool quick;
  std::shared_ptr<LayerNorm> ln_1, ln_2;
  std::shared_ptr<PackedAttention> attn;
  std::shared_ptr<Linear> c_fc, c_proj;
};

ClipBlocks::ClipBlocks(const ClipBlocksConfig& config) : config_(config) {
  const auto list = register_module("resblocks", torch::nn::ModuleList());
  for (int64_t i = 0; i < config.depth; ++i) {
    blocks_.push_back(std::make_shared<Block>(config, i));
    list->push_back(blocks_.back());
  }
}

Tensor ClipBlocks::forward(Tensor x, int64_t count, const Tensor& bias, const WeightHook* hook) const {
  Tensor whole = bias;
  if (bias.defined()) {
    auto shape = bias.sizes().vec();
    shape[shape.size() - 3] = config_.num_heads;
    whole = bias.expand(shape).contiguous();
  }
  // A copy: a checkpointed block asks again in the backward pass, when the caller's may be gone.
  const WeightHook own = hook ? *hook : WeightHook();
  for (int64_t i = 0; i < count; ++i) {
    const auto& block = *blocks_.at(static_cast<size_t>(i));
    x = run_block(
        [&block, whole, own](const std::vector<Tensor>& in) {
          return block.forward(in[0], whole, own ? &own : nullptr);
        },
        {x});
  }
  return x;
}

void ClipBlocks::initialize(Draws& draws, const std::string& name, bool normal) {
  const double width = static_cast<double>(config_.dim), depth = static_cast<double>(config_.depth);
  const double attended = std::pow(width, -0.5), ends = attended * std::pow(2 * depth, -0.5),
               widened = std::pow(2 * width, -0.5);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const auto& block = *blocks_[i];
    const auto at = [&](const char* part) { return str(name, "resblocks.", i, ".", part); };
    if (normal) {
      normal_(block.attn->weight, attended, draws, at("attn.in_proj_weight"));
      normal_(block.attn->out->weight, ends, draws, at("attn.out_proj.weight"));
      normal_(block.c_fc->weight, widened, draws, at("mlp.c_fc.weight"));
      normal_(block.c_proj->weight, ends, draws, at("mlp.c_proj.weight"));
    } else {
      // MultiheadAttention's defaults, then those of Linear.
      xavier_uniform_(block.attn->weight, draws, at("attn.in_proj_weight"));
      default_conv_init_(block.attn->out->weight, {}, draws, at("attn.out_proj"));
      default_conv_init_(block.c_fc->weight, block.c_fc->bias, draws, at("mlp.c_fc"));
      default_conv_init_(block.c_proj->weight, block.c_proj->bias, draws, at("mlp.c_proj"));
    }
  }
}

}  // namespace lacuna::nn
