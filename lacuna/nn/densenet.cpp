// DenseNet (Huang et al., CVPR 2017) under torchvision's names.

#include "lacuna/core/torch.h"
#include "lacuna/nn/conv_blocks.h"
#include "lacuna/nn/layers.h"

namespace lacuna::nn {

namespace {

struct DenseNetConfig {
  int64_t in_chans = 3, num_classes = 1000, growth = 32, stem = 64;
  std::vector<int64_t> depths;
  double norm_eps = 1e-5;
};

/// Channels one after the other; kept where more than half of the parts are.
MaskedTensor concatenate(const std::vector<MaskedTensor>& parts) {
  constexpr double kMajority = 0.5;
  std::vector<Tensor> channels, kept;
  for (const auto& part : parts) {
    channels.push_back(part.x);
    if (part.masked()) kept.push_back(part.kept);
  }
  auto out = parts.front();
  out.x = torch::cat(channels, 1);
  if (out.masked()) out.kept = torch::stack(kept).mean(0).gt(kMajority).to(kept.front().dtype());
  return out;
}

/// Batch norm, ReLU, convolution.
struct NormConv {
  std::shared_ptr<BatchNorm> norm;
  std::shared_ptr<Conv2d> conv;

  NormConv(torch::nn::Module& parent, const std::string& suffix, const Conv2dConfig& config, double eps)
      : norm(parent.register_module("norm" + suffix, std::make_shared<BatchNorm>(config.in, eps))),
        conv(parent.register_module("conv" + suffix, std::make_shared<Conv2d>(config))) {}

  MaskedTensor forward(const MaskedTensor& input) const {
    return conv->forward(relu(batch_norm(*norm, input)));
  }
};

/// Adds `growth` channels to those of all layers before it.
class DenseLayer : public torch::nn::Module {
 public:
  DenseLayer(int64_t in, int64_t growth, double eps)
      : narrow_(*this, "1", {.in = in, .out = kBottleneck * growth}, eps),
        widen_(*this, "2", {.in = kBottleneck * growth, .out = growth, .kernel = 3, .padding = 1}, eps) {}
  MaskedTensor forward(const std::vector<MaskedTensor>& before) const {
    return widen_.forward(narrow_.forward(concatenate(before)));
  }

 private:
  static constexpr int64_t kBottleneck = 4;
  NormConv narrow_, widen_;
};

class Transition : public torch::nn::Module {
 public:
  Transition(int64_t in, int64_t out, double eps) : conv_(*this, "", {.in = in, .out = out}, eps) {}
  MaskedTensor forward(const MaskedTensor& input) const { return avg_pool(conv_.forward(input), {}); }

 private:
  NormConv conv_;
};

class DenseNet final : public ConvNet {
 public:
  explicit DenseNet(const DenseNetConfig& config) : config_(config) {
    const auto features = register_module("features", std::make_shared<torch::nn::Module>());
    conv0_ = features->register_module(
        "conv0", std::make_shared<Conv2d>(Conv2dConfig{
                     .in = config.in_chans, .out = config.stem, .kernel = 7, .stride = 2, .padding = 3}));
    norm0_ = features->register_module("norm0", std::make_shared<BatchNorm>(config.stem, config.norm_eps));
    int64_t width = config.stem;
    for (size_t b = 0; b < config.depths.size(); ++b) {
      const auto block =
          features->register_module(str("denseblock", b + 1), std::make_shared<torch::nn::Module>());
      auto& layers = blocks_.emplace_back();
      for (int64_t i = 0; i < config.depths[b]; ++i, width += config.growth)
        layers.push_back(block->register_module(
            str("denselayer", i + 1), std::make_shared<DenseLayer>(width, config.growth, config.norm_eps)));
      if (b + 1 == config.depths.size()) break;
      transitions_.push_back(features->register_module(
          str("transition", b + 1), std::make_shared<Transition>(width, width / 2, config.norm_eps)));
      width /= 2;
    }
    norm5_ = features->register_module("norm5", std::make_shared<BatchNorm>(width, config.norm_eps));
    classifier_ = register_module("classifier", std::make_shared<Linear>(width, config.num_classes));
  }

  Tensor features(const MaskedTensor& image, Draws* /*draws*/) const override {
    constexpr int64_t kLeastSide = 29;
    require_side(image.x, kLeastSide, "densenet");
    auto x = image;
    x.x = visible(image);
    x = max_pool(relu(batch_norm(*norm0_, conv0_->forward(x))), {.kernel = 3, .stride = 2, .padding = 1});
    for (size_t b = 0; b < blocks_.size(); ++b) {
      std::vector<MaskedTensor> parts{x};
      for (const auto& layer : blocks_[b]) parts.push_back(layer->forward(parts));
      x = concatenate(parts);
      if (b < transitions_.size()) x = transitions_[b]->forward(x);
    }
    // An ordinary mean, as officially: removed positions count as zeros.
    return relu(batch_norm(*norm5_, x)).x.mean({2, 3});
  }
  Tensor head(const Tensor& features, Draws* /*draws*/) const override {
    return classifier_->forward(features);
  }

  /// The stem, each block and the transition before it, the head.
  int64_t layers() const override { return static_cast<int64_t>(config_.depths.size()) + 2; }
  int64_t layer_of(const std::string& name) const override {
    if (is_head(name)) return layers() - 1;
    for (const auto& [prefix, offset] :
         {std::pair<std::string, int64_t>{"features.denseblock", 0}, {"features.transition", 1}})
      if (name.starts_with(prefix)) return std::stoll(name.substr(prefix.size())) + offset;
    return name.starts_with("features.norm5") ? layers() - 2 : 0;
  }
  bool is_head(const std::string& name) const override { return name.starts_with("classifier."); }

 private:
  DenseNetConfig config_;
  std::shared_ptr<Conv2d> conv0_;
  std::shared_ptr<BatchNorm> norm0_, norm5_;
  std::vector<std::vector<std::shared_ptr<DenseLayer>>> blocks_;
  std::vector<std::shared_ptr<Transition>> transitions_;
  std::shared_ptr<Linear> classifier_;
};

Register<ConvNetArch> entry(const std::string& name, int64_t growth, int64_t stem,
                            const std::vector<int64_t>& depths) {
  ConvNetArch out{.summary = str("dense blocks of ", Json(depths).dump(), " layers, growing by ", growth)};
  out.make = [=](const ConvNetConfig& given) {
    return std::make_shared<DenseNet>(DenseNetConfig{.in_chans = given.in_chans,
                                                     .num_classes = given.num_classes,
                                                     .growth = growth,
                                                     .stem = stem,
                                                     .depths = depths,
                                                     .norm_eps = given.norm_eps});
  };
  out.recognize = [name](const auto& weights) {
    return recognize_by_shapes(name, {"features.conv0", "classifier"}, weights);
  };
  return {name, out};
}

const Register<ConvNetArch> registered[] = {
    entry("densenet121", 32, 64, {6, 12, 24, 16}), entry("densenet161", 48, 96, {6, 12, 36, 24}),
    entry("densenet169", 32, 64, {6, 12, 32, 32}), entry("densenet201", 32, 64, {6, 12, 48, 32})};

}  // namespace
}  // namespace lacuna::nn
