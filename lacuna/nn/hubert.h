#pragma once
// The encoder of HuBERT and wav2vec 2.0 (Baevski et al., 2020; Hsu et al., 2021; fairseq's names): a stack of
// convolutions over the waveform, a convolution that tells positions, a transformer.

#include <torch/nn/module.h>
#include <torch/types.h>

#include <memory>
#include <string>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/core/draws.h"
#include "lacuna/nn/layers.h"

namespace lacuna::nn {

/// One convolution of the front-end.
struct ConvLayer {
  int64_t dim = 512, kernel = 10, stride = 5;
};
/// "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2", as fairseq writes it. Error naming the part that is
/// wrong.
std::vector<ConvLayer> parse_conv_layers(const std::string& text);

/// Keys `encoder.*`.
struct HubertConfig {
  std::string arch = "hubert_base";  ///< hubert_base | hubert_large | hubert: every key as given
  std::string conv_layers = "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2";
  std::string conv_norm = "group";  ///< group: one GroupNorm behind the first | layer: LayerNorm behind each
  bool conv_bias = false;
  int64_t embed_dim = 768, depth = 12, num_heads = 12;
  double mlp_ratio = 4;
  std::string activation = "gelu";  ///< of the MLP: gelu | relu
  bool pre_norm = false;
  int64_t conv_pos = 128, conv_pos_groups = 16;
  double dropout = 0.1, attention_dropout = 0.1, activation_dropout = 0, dropout_input = 0.1;
  double layerdrop = 0.05;
  double feature_grad_mult = 0.1;  ///< <= 0: the convolutions are frozen
  void fields(Fields& f);
  void resolve(const ConfigTable& table, const std::string& prefix);

  std::vector<ConvLayer> conv() const { return parse_conv_layers(conv_layers); }
  int64_t conv_dim() const { return conv().back().dim; }
  int64_t stride() const;  ///< samples from one frame to the next
  int64_t field() const;   ///< samples that one frame sees
  /// Frames of `samples` samples; 0 when they are fewer than field().
  int64_t frames(int64_t samples) const;
};

/// Waves [B, N] -> [B, C, T] by convolutions without padding. Children `conv_layers.i`.
class ConvFeatures : public torch::nn::Module {
 public:
  explicit ConvFeatures(const HubertConfig& config);
  Tensor forward(const Tensor& wave) const;
  void initialize(Draws& draws, const std::string& name);

 private:
  struct Layer {
    ConvLayer size;
    Tensor weight, bias, norm_weight, norm_bias;  ///< undefined where there is none
  };
  bool layer_norm_;
  std::vector<Layer> layers_;
};

/// Relative positions by a grouped convolution with weight norm (one gain a tap) and GELU, added to its
/// input. Child `0`: weight_g [1, 1, k], weight_v [D, D / groups, k], bias [D].
class ConvPositions : public torch::nn::Module {
 public:
  explicit ConvPositions(const HubertConfig& config);
  Tensor forward(const Tensor& x) const;  ///< [B, T, D] -> [B, T, D], the sum not taken
  void initialize(Draws& draws, const std::string& name);

 private:
  int64_t kernel_, groups_;
  Tensor weight_g_, weight_v_, bias_;
};

/// Separate q, k, v, out projections; a block whose norms stand behind (post) or before (pre) its branches.
class HubertBlock : public torch::nn::Module {
 public:
  HubertBlock(const HubertConfig& config, std::string name);
  /// x [B, T, D]; `padding` [B, T] bool, true = not to be looked at; undefined: none. `draws` null:
  /// evaluation.
  Tensor forward(const Tensor& x, const Tensor& padding, Draws* draws) const;

 private:
  Tensor attention(const Tensor& x, const Tensor& padding, Draws* draws) const;
  Tensor mlp(const Tensor& x, Draws* draws) const;

  const HubertConfig config_;
  std::string name_;
  std::shared_ptr<Linear> q_, k_, v_, out_, fc1_, fc2_;
  std::shared_ptr<LayerNorm> attn_norm_, final_norm_;
};

/// Positions, norms and blocks. Children `pos_conv`, `layers`, `layer_norm`.
class HubertEncoder : public torch::nn::Module {
 public:
  explicit HubertEncoder(const HubertConfig& config);
  /// x [B, T, D] -> [B, T, D] behind all blocks (and, pre-norm, the last norm), but for those of `skipped`
  /// (layer drop; by block, empty: none).
  Tensor forward(const Tensor& x, const Tensor& padding, Draws* draws,
                 const std::vector<char>& skipped = {}) const;
  /// The input of the first block, then each block's output, no final norm. Evaluation. `last`: no block
  /// behind that one is computed.
  std::vector<Tensor> layers(const Tensor& x, const Tensor& padding, int64_t last) const;
  /// What stands behind the last block: pre-norm, the last norm; post-norm, nothing.
  Tensor last_norm(const Tensor& x) const;
  void initialize(Draws& draws, const std::string& name);

 private:
  Tensor embed(const Tensor& x, const Tensor& padding, Draws* draws) const;

  HubertConfig config_;
  std::shared_ptr<ConvPositions> pos_conv_;
  std::vector<std::shared_ptr<HubertBlock>> blocks_;
  std::shared_ptr<LayerNorm> layer_norm_;
};

/// x, with gradients multiplied by `factor` on their way back.
Tensor scale_gradient(const Tensor& x, double factor);

}  // namespace lacuna::nn
