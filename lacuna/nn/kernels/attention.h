#pragma once
// Attention of short sequences in fp32 on a CPU: one head of one sequence after the other, its logits never
// leaving the cache. Queries, keys and values are read where the projection left them; the weights are
// computed again in the backward pass (one product of five) rather than kept.

#include <torch/types.h>

namespace lacuna::nn::kernels {

using torch::Tensor;

struct Attended {
  Tensor out;      ///< [S, N, D]
  Tensor log_sum;  ///< [S, H, N]: what the backward pass needs beside qkv
};

/// As nn::self_attention: qkv [S, N, 3D] fp32 contiguous, bias undefined or [W, H, N, N] fp32 contiguous.
Attended attention(const Tensor& qkv, int64_t heads, const Tensor& bias);

struct AttentionGradients {
  Tensor qkv;   ///< [S, N, 3D]
  Tensor bias;  ///< [W, H, N, N]; undefined unless asked for
};
AttentionGradients attention_backward(const Tensor& out, const Tensor& qkv, const Tensor& log_sum,
                                      int64_t heads, const Tensor& bias, bool bias_wanted);

}  // namespace lacuna::nn::kernels
