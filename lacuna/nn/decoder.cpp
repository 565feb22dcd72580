#include "lacuna/nn/decoder.h"

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/activation_checkpoint.h"
#include "lacuna/nn/init.h"
#include "lacuna/nn/vit.h"

namespace lacuna::nn {

void DecoderConfig::fields(Fields& f) {
  f("embed_dim", embed_dim, "width of the decoder's tokens").range(1);
  f("depth", depth, "number of decoder blocks").range(1);
  f("num_heads", num_heads, "attention heads of a decoder block").range(1);
  f("mlp_ratio", mlp_ratio, "hidden width of the MLP over embed_dim").range(0);
  f("norm_eps", norm_eps, "epsilon of the decoder's layer norms").range(0);
}

void check_decoder(const DecoderConfig& config) {
  if (config.embed_dim % config.num_heads != 0)
    fail(str("decoder.embed_dim ", config.embed_dim), str("not a multiple of num_heads ", config.num_heads),
         "choose heads that divide the width");
  if (config.embed_dim % 4 != 0)
    fail(str("decoder.embed_dim ", config.embed_dim), "a 2-D sine-cosine table needs a multiple of 4",
         str("use ", (config.embed_dim / 4 + 1) * 4));
}

DecoderInput::DecoderInput(int64_t encoder_dim, const DecoderConfig& config, Size2 grid, int64_t prefix)
    : prefix_(prefix) {
  embed_ = register_module("decoder_embed", std::make_shared<Linear>(encoder_dim, config.embed_dim));
  mask_token_ = register_parameter("mask_token", torch::zeros({1, 1, config.embed_dim}));
  pos_embed_ = register_parameter("decoder_pos_embed", sincos_2d(config.embed_dim, grid, prefix),
                                  /*requires_grad=*/false);
}

void DecoderInput::initialize(Draws& draws) {
  normal_(mask_token_, 0.02, draws, "mask_token");
  initialize_linears(*embed_, draws, "decoder_embed");
}

// Attention does not see order, so tokens stay in the order given: only the positions are gathered.
Tensor DecoderInput::forward(const Tensor& latent, const Tensor& order) const {
  const int64_t B = latent.size(0), hidden_count = order.size(1) + prefix_ - latent.size(1);
  const auto visible = embed_->forward(latent);  // [B, prefix+K, Dd]
  const auto hidden = mask_token_.to(visible.dtype()).expand({B, hidden_count, -1});
  const auto position = torch::cat({pos_embed_.slice(1, 0, prefix_).expand({B, -1, -1}),
                                    gather_tokens(pos_embed_.slice(1, prefix_), order)},
                                   1);
  return torch::cat({visible, hidden}, 1) + position;
}

DecoderStack::DecoderStack(const DecoderConfig& config, int64_t outputs, const std::string& suffix) {
  const std::string name = "decoder_blocks" + suffix;
  const auto blocks = register_module(name, torch::nn::ModuleList());
  for (int64_t i = 0; i < config.depth; ++i) {
    const BlockConfig block{config.embed_dim, config.num_heads, config.mlp_ratio, /*qkv_bias=*/true,
                            config.norm_eps};
    blocks_.push_back(std::make_shared<Block>(block, str(name, ".", i)));
    blocks->push_back(blocks_.back());
  }
  norm_ = register_module("decoder_norm" + suffix,
                          std::make_shared<LayerNorm>(config.embed_dim, config.norm_eps));
  pred_ = register_module("decoder_pred" + suffix, std::make_shared<Linear>(config.embed_dim, outputs));
}

void DecoderStack::initialize(Draws& draws) {
  for (const auto& child : named_children()) initialize_linears(*child.value(), draws, child.key());
}

// A view of its own: where several stacks read the same tokens, the gradients of each are summed first, so
// that the sum is the same to the bit whether blocks are checkpointed or not.
Tensor DecoderStack::run_blocks(const Tensor& tokens, int64_t from) const {
  auto x = tokens.view_as(tokens);
  for (const auto& block : blocks_) {
    const int64_t first = block == blocks_.back() ? from : 0;
    x = run_block(
        [&block = *block, first](const auto& in) { return block.forward(in[0], nullptr, nullptr, first); },
        {x});
  }
  return x;
}

Tensor DecoderStack::predict(const Tensor& tokens) const { return pred_->forward(norm_->forward(tokens)); }

Tensor DecoderStack::predict_mean(const Tensor& tokens) const {
  const auto row = pred_->weight.mean(0, /*keepdim=*/true), bias = pred_->bias.mean(0, /*keepdim=*/true);
  return at::linear(norm_->forward(tokens), row, bias).squeeze(-1);
}

}  // namespace lacuna::nn
