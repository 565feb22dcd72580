#pragma once
// Residual networks (He et al., CVPR 2016), ResNeXt (Xie et al., CVPR 2017) and Wide ResNet (Zagoruyko &
// Komodakis, BMVC 2016) under torchvision's names: conv1, bn1,
// layerN.k.{conv1,bn1,...,downsample.0,downsample.1}, fc.

#include "lacuna/nn/conv_net.h"
#include "lacuna/nn/layers.h"

namespace lacuna::nn {

struct ResNetConfig {
  bool bottleneck = false;
  int64_t in_chans = 3, num_classes = 1000;
  bool small_stem =
      false;  ///< 3x3 of stride 1, no pooling (CIFAR) instead of 7x7 of stride 2 and max pooling
  int64_t stem_width = 64;
  std::vector<int64_t> planes{64, 128, 256, 512}, depths{2, 2, 2, 2}, strides{1, 2, 2, 2};
  int64_t groups = 1, base_width = 64;
  int64_t expansion = 4;  ///< bottleneck: width behind the last 1x1 over planes
  double norm_eps = 1e-5;
};

/// Two 3x3 convolutions (basic), or 1x1, 3x3, 1x1 (bottleneck, whose 3x3 carries the stride), beside a
/// shortcut.
class ResNetBlock : public torch::nn::Module {
 public:
  ResNetBlock(const ResNetConfig& config, int64_t in, int64_t planes, int64_t stride);
  MaskedTensor forward(const MaskedTensor& input) const;

 private:
  void add_conv(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t groups, double eps);

  std::vector<std::shared_ptr<Conv2d>> convs_;
  std::vector<std::shared_ptr<BatchNorm>> norms_;
  std::shared_ptr<Conv2d> shortcut_conv_;
  std::shared_ptr<BatchNorm> shortcut_norm_;
};

class ResNet : public ConvNet {
 public:
  explicit ResNet(const ResNetConfig& config);
  /// Behind the stem, then behind each stage.
  std::vector<MaskedTensor> stages(const MaskedTensor& image) const;
  Tensor features(const MaskedTensor& image, Draws* draws) const override;
  Tensor head(const Tensor& features, Draws* draws) const override;
  int64_t layers() const override;
  int64_t layer_of(const std::string& name) const override;
  bool is_head(const std::string& name) const override { return name.starts_with("fc."); }

 private:
  ResNetConfig config_;
  std::shared_ptr<Conv2d> conv1_;
  std::shared_ptr<BatchNorm> bn1_;
  std::vector<std::vector<std::shared_ptr<ResNetBlock>>> layers_;
  std::shared_ptr<Linear> fc_;
};

}  // namespace lacuna::nn
