#pragma once
// Convolutional classifiers under torchvision's names: one interface, and a registry that encoder.arch is
// chosen from. A network registers itself in its own file.

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/core/registry.h"
#include "lacuna/nn/masked.h"

namespace lacuna::nn {

/// B pictures, D features, C classes.
class ConvNet : public torch::nn::Module {
 public:
  /// [B, D]: what head() reads. `draws` null: no dropout.
  virtual Tensor features(const MaskedTensor& image, Draws* draws) const = 0;
  /// [B, C]
  virtual Tensor head(const Tensor& features, Draws* draws) const = 0;
  virtual void initialize(Draws& draws) { initialize_conv_net(*this, draws); }
  /// Layers of layer-wise learning rates, 0 nearest to the input; layers() - 1 is the head.
  virtual int64_t layers() const = 0;
  virtual int64_t layer_of(const std::string& name) const = 0;
  virtual bool is_head(const std::string& name) const = 0;
};

/// What a network is built from; the keys `encoder.*` of the same names.
struct ConvNetConfig {
  std::string arch;
  int64_t in_chans = 3, num_classes = 1000;
  std::vector<int64_t> depths;      ///< resnet, resnet-bottleneck: blocks of each stage
  int64_t embed_dim = 64;           ///< resnet, resnet-bottleneck: width of the stem and of the first stage
  int64_t groups = 1;               ///< resnet-bottleneck: of the 3x3 convolutions (ResNeXt)
  int64_t base_width = 64;          ///< resnet-bottleneck: width of those for 64 channels (Wide ResNet: 128)
  std::string stem = "conv7-pool";  ///< resnet, resnet-bottleneck: conv7-pool | conv3
  double norm_eps = 1e-5;
};

/// A name that encoder.arch may be.
struct ConvNetArch {
  static const char* noun() { return "convolutional network"; }
  std::string summary;  ///< for `lacuna list encoders`
  /// Keys of ConvNetConfig that the name stands for, by name.
  Json sizes = Json::object();
  std::function<std::shared_ptr<ConvNet>(const ConvNetConfig& config)> make;
  /// {"encoder": {...}, "num_classes": n} when weights of these names and shapes are this network's.
  std::function<std::optional<Json>(const std::map<std::string, Tensor>& weights)> recognize = nullptr;
};

bool is_conv_net(const std::string& arch);
/// {"encoder": its keys, "num_classes": n} of the network that weights with torchvision's names are of;
/// nothing when they are of none.
std::optional<Json> recognize_conv_net(const std::map<std::string, Tensor>& weights);

}  // namespace lacuna::nn
