#pragma once
// Row-wise arithmetic of transformer blocks on a CPU, one pass over memory each, in fp32 whatever the
// storage: loops that the compiler vectorises for AVX-512, AVX2 and plain x86-64, chosen when the program
// starts. Sums over rows are made of chunks that do not depend on the number of threads, so that results
// don't either. "T" below is float32 or bfloat16; everything is contiguous.

#include <torch/types.h>

namespace lacuna::nn::kernels {

using torch::Tensor;

/// Where `order` [L] (int64) is given, row b L + i of the branch's side (T) belongs to row b L + order[i] of
/// x: windows of a picture without copies of it.

/// What layer_norm leaves for its gradient: y [R, D] of type T, mean and rstd [R] fp32.
struct Normed {
  Tensor y, mean, rstd;
};

/// y = (x - mean) * rstd * gamma + beta over the last dimension. x [R, D] fp32; gamma, beta [D] fp32.
Normed layer_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, double eps, torch::Dtype type,
                  const Tensor& order = {});
/// y once more, from the mean and rstd that were kept.
Tensor normalize(const Tensor& x, const Normed& kept, const Tensor& gamma, const Tensor& beta,
                 torch::Dtype type, const Tensor& order = {});

/// Gradients of out = x + branch(layer_norm(x)) + bias.
struct NormGradients {
  Tensor x;                  ///< [R, D] fp32: through the norm, plus `out` itself
  Tensor gamma, beta, bias;  ///< [D] fp32
};
/// `out` [R, D] fp32 is the gradient of the sum, `y` [R, D] (T) that of the norm's result.
NormGradients layer_norm_backward(const Tensor& out, const Tensor& y, const Tensor& x, const Normed& kept,
                                  const Tensor& gamma, const Tensor& order = {});

/// x + branch + bias: [R, D] fp32 + [R, D] (T) + [D] fp32 -> fp32.
Tensor add_branch(const Tensor& x, const Tensor& branch, const Tensor& bias, const Tensor& order = {});

/// x [R, D] fp32 as the branch's side (T) sees it; x itself where nothing changes.
Tensor gathered(const Tensor& x, torch::Dtype type, const Tensor& order = {});

/// GELU(h + bias), exact (Abramowitz & Stegun 7.1.26 for erf: 1.5e-7). h [R, H] (T), bias [H] fp32 -> (T).
Tensor bias_gelu(const Tensor& h, const Tensor& bias);

/// `activated` = GELU(h + bias) once more (T); `bias` [H] fp32: gradient.
struct GeluGradients {
  Tensor activated, bias;
};
/// Turns `grad` [R, H] (T), the gradient of the GELU, into that of h in place.
GeluGradients bias_gelu_backward_(Tensor grad, const Tensor& h, const Tensor& bias);

/// [R, D] (T) -> [D] fp32: sum over rows.
Tensor column_sum(const Tensor& x);

}  // namespace lacuna::nn::kernels
