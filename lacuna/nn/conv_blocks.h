#pragma once
// What torchvision's convolutional networks beside ResNet are put together from, carrying a mask along
// (masked.h; Balasubramanian & Feizi, ICCV 2023).

#include <memory>

#include "lacuna/nn/conv_net.h"

namespace lacuna::nn {

enum class Activation { kNone, kRelu, kRelu6, kHardswish, kSilu };
/// f(x), zero where removed.
MaskedTensor activate(const MaskedTensor& input, Activation activation);

/// torchvision's Conv2dNormActivation: "0" a convolution, "1" its batch norm.
class ConvNorm : public torch::nn::Module {
 public:
  struct Norm {
    double eps = 1e-5, momentum = 0.1;
  };
  ConvNorm(const Conv2dConfig& config, const Norm& norm, Activation activation);
  MaskedTensor forward(const MaskedTensor& input) const;

 private:
  std::shared_ptr<Conv2d> conv_;
  std::shared_ptr<BatchNorm> norm_;
  Activation activation_;
};

/// Squeeze-and-excitation (Hu et al., CVPR 2018), "fc1" and "fc2": channels [in] scaled by what their means
/// over the kept positions say.
class SqueezeExcitation : public torch::nn::Module {
 public:
  enum class Gate { kSigmoid, kHardsigmoid };
  SqueezeExcitation(int64_t in, int64_t squeezed, Activation activation, Gate gate);
  MaskedTensor forward(const MaskedTensor& input) const;

 private:
  std::shared_ptr<Conv2d> fc1_, fc2_;
  Activation activation_;
  Gate gate_;
};

/// The layers of SqueezeNet and AlexNet, whose results are not masked: what they read is. A hole is always
/// filled from its neighbours.
MaskedTensor open_conv(const Conv2d& conv, const MaskedTensor& input);
MaskedTensor open_relu(const MaskedTensor& input);
/// `ceil_mode`: windows that reach over the edge count too.
MaskedTensor open_max_pool(const MaskedTensor& input, const Pool2dConfig& config, bool ceil_mode);
/// x, zero where removed.
Tensor visible(const MaskedTensor& input);

/// The nearest multiple of 8 that is no more than a tenth below `channels`, at least 8.
int64_t make_divisible(double channels);

/// Error unless pictures have `least` pixels on each side.
void require_side(const Tensor& image, int64_t least, const std::string& arch);

/// For ConvNetArch::recognize: weights are `arch`'s when the network made with their input channels (of
/// `stem`, a convolution's name) and classes (rows of `head`) has the same names and shapes.
struct Signature {
  std::string stem, head;  ///< without ".weight"
};
std::optional<Json> recognize_by_shapes(const std::string& arch, const Signature& signature,
                                        const std::map<std::string, Tensor>& weights);

}  // namespace lacuna::nn
