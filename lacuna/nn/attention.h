#pragma once
// Self-attention on packed queries, keys and values.

#include <torch/types.h>

#include <vector>

#include "lacuna/nn/kernels/attention.h"

namespace lacuna::nn {

using torch::Tensor;

/// softmax(q k^T / sqrt(d) + bias) v. qkv [S, N, 3D]: S sequences of N tokens, columns ordered q, k, v and
/// head-major in each
/// -> [S, N, D]. `bias` (undefined: none) [H, N, N], or [W, H, N, N] with S a multiple of W: sequence s has
/// bias[s mod W] (the windows of a picture). Gradients flow to both. Softmax and sums are fp32; under bf16
/// the logits are rounded to bf16.
Tensor self_attention(const Tensor& qkv, int64_t num_heads, const Tensor& bias = {});

// Up to here the N x N weights of all heads are cheaper to keep, or to make again, than LibTorch's flash
// kernel is to run on a CPU (7 ms against 40 for 32 x 3 heads of 197 tokens in bf16, forward and backward, on
// two cores of an EPYC 9005).
constexpr int64_t kShortSequence = 512;

// Its two halves for larger autograd functions; only where is_short(qkv). qkv is contiguous.
bool is_short(const Tensor& qkv);
/// `kept` is what the backward half asks for.
Tensor attention_forward(const Tensor& qkv, int64_t heads, const Tensor& bias, std::vector<Tensor>& kept);
kernels::AttentionGradients attention_backward(const Tensor& gradient, const std::vector<Tensor>& kept,
                                               int64_t heads, const Tensor& bias, bool bias_wanted);

}  // namespace lacuna::nn
