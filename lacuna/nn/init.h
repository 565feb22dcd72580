#pragma once
// First values of parameters, drawn by the parameter's name.

#include <torch/nn/module.h>
#include <torch/types.h>

#include <string>
#include <string_view>

#include "lacuna/core/draws.h"

namespace lacuna::nn {

/// U(-b, b). Any shape.
void uniform_(const torch::Tensor& parameter, double bound, Draws& draws, std::string_view name);
/// N(0, std).
void normal_(const torch::Tensor& parameter, double std, Draws& draws, std::string_view name);
/// N(0, std) cut at +-bound, by inversion (timm's trunc_normal_, whose default bounds are +-2 whatever std
/// is).
void trunc_normal_(const torch::Tensor& parameter, double std, Draws& draws, std::string_view name,
                   double bound = 2);
/// PyTorch's default for a convolution or linear layer: weight and bias (where there is one) U(+-1 /
/// sqrt(fan_in)).
void default_conv_init_(const torch::Tensor& weight, const torch::Tensor& bias, Draws& draws,
                        const std::string& name);
/// U(+-sqrt(6 / (fan_in + fan_out))) with [out, in...] viewed as [out, in] (Glorot & Bengio, 2010).
void xavier_uniform_(const torch::Tensor& parameter, Draws& draws, std::string_view name);

/// Every Linear of `module` (called `name` in the checkpoint): weight Xavier uniform; biases start at 0.
void initialize_linears(torch::nn::Module& module, Draws& draws, const std::string& name = "");

}  // namespace lacuna::nn
