#pragma once
// Self-attention on packed queries, keys and values.

#include <torch/types.h>

namespace lacuna::nn {

using torch::Tensor;

/// softmax(q k^T / sqrt(d) + bias) v. qkv [S, N, 3D]: S sequences of N tokens, columns ordered q, k, v and
/// head-major in each
/// -> [S, N, D]. `bias` (undefined: none) [H, N, N], or [W, H, N, N] with S a multiple of W: sequence s has
/// bias[s mod W] (the windows of a picture). Gradients flow to both. Softmax and sums are fp32; under bf16
/// the logits are rounded to bf16.
Tensor self_attention(const Tensor& qkv, int64_t num_heads, const Tensor& bias = {});

}  // namespace lacuna::nn
