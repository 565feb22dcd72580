#pragma once
// Building blocks of transformers. Parameters are created empty and filled by their model's
// initialize(draws), so that no global generator is ever asked.

#include <torch/nn/module.h>
#include <torch/types.h>

#include <memory>
#include <string>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/core/draws.h"

namespace lacuna::nn {

using torch::Tensor;

/// y = x W^T + b. weight [out, in], bias [out].
class Linear : public torch::nn::Module {
 public:
  Linear(int64_t in_features, int64_t out_features, bool with_bias = true);
  Tensor forward(const Tensor& x) const;

  Tensor weight, bias;
};

/// Over the last dimension. weight [dim] = 1, bias [dim] = 0.
class LayerNorm : public torch::nn::Module {
 public:
  LayerNorm(int64_t dim, double eps);
  Tensor forward(const Tensor& x) const;
  double eps() const { return eps_; }

  Tensor weight, bias;

 private:
  double eps_;
};

/// Drops whole residual branches sample by sample and scales the kept ones by 1 / (1 - rate) (timm's
/// DropPath). x [B, ...]; `name` names the draw. Identity when `draws` is null or the rate 0.
Tensor drop_path(const Tensor& x, double rate, const std::string& name, Draws* draws);

/// Rotary positions: what queries and keys are turned by. cos, sin [S, N, d] (or [1, N, d]): sequence, token,
/// channel of a head.
struct Rotation {
  Tensor cos, sin;
};

/// Multi-head self-attention; qkv rows ordered q, k, v and head-major inside each. x [B, N, D] -> [B, N, D].
class Attention : public torch::nn::Module {
 public:
  Attention(int64_t dim, int64_t num_heads, bool qkv_bias);
  /// `rotation` null: no rotary positions.
  Tensor forward(const Tensor& x, const Rotation* rotation = nullptr) const;
  /// x + forward(norm x).
  Tensor residual(const Tensor& x, const LayerNorm& norm) const;
  const std::shared_ptr<Linear>& proj() const { return proj_; }

 private:
  int64_t num_heads_;
  std::shared_ptr<Linear> qkv_, proj_;
};

/// fc2(GELU(fc1(x))), exact GELU.
class Mlp : public torch::nn::Module {
 public:
  Mlp(int64_t dim, int64_t hidden_dim);
  Tensor forward(const Tensor& x) const;
  /// x + forward(norm x).
  Tensor residual(const Tensor& x, const LayerNorm& norm) const;
  const std::shared_ptr<Linear>& fc2() const { return fc2_; }

 private:
  std::shared_ptr<Linear> fc1_, fc2_;
};

/// A learned gain for each channel of a residual branch (CaiT; timm's LayerScale). gamma [dim].
class LayerScale : public torch::nn::Module {
 public:
  LayerScale(int64_t dim, double init_value);
  Tensor gamma;
};

/// Sizes of a Block.
struct BlockConfig {
  int64_t dim = 768, num_heads = 12;
  double mlp_ratio = 4.0;
  bool qkv_bias = true;
  double norm_eps = 1e-6;
  double drop_path = 0;
  double init_values = 0;  ///< 0: no layer scale
};

/// Pre-norm block: x += ls1 attn(norm1 x); x += ls2 mlp(norm2 x). `name` names its draws.
class Block : public torch::nn::Module {
 public:
  Block(const BlockConfig& config, std::string name);
  /// x [B, N, D] -> tokens `from` to N of the result; `draws` null: evaluation, no drop path. `rotation`
  /// null: no rotary positions.
  Tensor forward(const Tensor& x, Draws* draws, const Rotation* rotation = nullptr, int64_t from = 0) const;
  /// What deep networks scale down at the start: the last layer of each branch.
  std::vector<std::shared_ptr<Linear>> branch_ends() const;

 private:
  Tensor residual(const Tensor& branch, const std::shared_ptr<LayerScale>& scale, const char* part,
                  Draws* draws) const;

  std::string name_;
  double drop_path_;
  std::shared_ptr<LayerNorm> norm1_, norm2_;
  std::shared_ptr<Attention> attn_;
  std::shared_ptr<Mlp> mlp_;
  std::shared_ptr<LayerScale> ls1_, ls2_;
};

/// One block after the other; checkpointed where ActivationCheckpointing is active.
Tensor run_blocks(const std::vector<std::shared_ptr<Block>>& blocks, Tensor x, Draws* draws,
                  const Rotation* rotation = nullptr);

/// The kernel of a patch convolution. weight [D, C, ph, pw], bias [D].
class PatchKernel : public torch::nn::Module {
 public:
  PatchKernel(int64_t in_chans, int64_t dim, Size2 patch);
  Tensor weight, bias;
};

/// Patches to tokens by one linear map (a convolution whose stride is its kernel). Raster order.
class PatchEmbed : public torch::nn::Module {
 public:
  PatchEmbed(int64_t in_chans, int64_t dim, Size2 patch);
  /// image [B, C, H, W] -> [B, L, D].
  Tensor forward(const Tensor& image) const;
  /// Only the patches `ids` [B, K]: [B, K, D].
  Tensor forward(const Tensor& image, const Tensor& ids) const;
  const std::shared_ptr<PatchKernel>& proj() const { return proj_; }

 private:
  Size2 patch_;
  std::shared_ptr<PatchKernel> proj_;
};

/// The image cut into patches without a copy: [B, h, w, C, ph, pw] strides over [B, C, H, W].
Tensor patch_view(const Tensor& image, Size2 patch);
/// Copies patches `ids` [B, K] (raster numbers) out of a view [B, h, w, ...] -> [B, K, ...].
Tensor gather_patches(const Tensor& view, const Tensor& ids);
/// rows[b, k] = x[b, ids[b, k]]: x [B, N, D] (or [1, N, D]), ids [B, K] -> [B, K, D].
Tensor gather_tokens(const Tensor& x, const Tensor& ids);

/// Makes the children, parameters and buffers of `part` members of `whole` under their own names, so that
/// official checkpoint names need no prefix. `whole` must hold `part` alive.
void adopt(torch::nn::Module& whole, torch::nn::Module& part);

}  // namespace lacuna::nn
