#pragma once
// The two residual branches of a pre-norm block as one autograd function each, on a CPU. Beside the same
// block made of operators they keep less (neither the norm's results nor the GELU's: both are made again in
// the pass that needs them anyway) and go over memory less often (bias + GELU, norm's gradient + residual).

#include <torch/types.h>

namespace lacuna::nn::kernels {

using torch::Tensor;

struct NormWeights {
  Tensor gamma, beta;  // [D]
  double eps;
};
struct LinearWeights {
  Tensor weight, bias;  // [out, in], [out] or undefined
};

/// Which tokens attend to each other: all of a sequence, or, with `order` [L] (int64, of nW windows of N
/// tokens, L = nW N), those of a window: row i of the windows is token order[i]. `bias` [H, N, N] or
/// [nW, H, N, N] fp32, or undefined.
struct Windows {
  Tensor order, bias;
  int64_t tokens;  // N
};

/// Whether the functions below serve x: on a CPU, fp32, with products in fp32 or bf16.
bool serves(const Tensor& x);

/// x + out(attention(in(norm x))); x [B, L, D] fp32 -> the same. Windows must be short (nn::is_short).
Tensor attention_branch(const Tensor& x, const NormWeights& norm, const LinearWeights& in,
                        const LinearWeights& out, int64_t heads, const Windows& windows);
/// x + out(GELU(in(norm x))); x [..., D] fp32 -> the same. Both have a bias.
Tensor mlp_branch(const Tensor& x, const NormWeights& norm, const LinearWeights& in,
                  const LinearWeights& out);

}  // namespace lacuna::nn::kernels
