// Networks of inverted residuals under torchvision's names: MobileNetV2 (Sandler et al., CVPR 2018),
// MobileNetV3 (Howard et al., ICCV 2019), EfficientNet (Tan & Le, ICML 2019).

#include <cmath>

#include "lacuna/core/torch.h"
#include "lacuna/nn/conv_blocks.h"
#include "lacuna/nn/dropout.h"
#include "lacuna/nn/init.h"
#include "lacuna/nn/layers.h"

namespace lacuna::nn {

namespace {

using Gate = SqueezeExcitation::Gate;

struct BlockConfig {
  int64_t in = 0, expanded = 0, out = 0, kernel = 3, stride = 1;
  int64_t squeezed = 0;  ///< 0: no squeeze-and-excitation
  Activation activation = Activation::kRelu6;
};

struct MobileConfig {
  std::string arch;
  int64_t in_chans = 3, num_classes = 1000, stem = 32, last = 1280;
  int64_t hidden = 0;  ///< width of a layer before the head; 0: none
  std::vector<std::vector<BlockConfig>> stages;
  bool nested = false;  ///< blocks are named by stage and place in it, not by place alone
  bool flat = false;    ///< MobileNetV2: "conv", its projection two children of it; else "block"
  Activation activation = Activation::kRelu6, squeeze_activation = Activation::kRelu;
  Gate gate = Gate::kHardsigmoid;
  ConvNorm::Norm norm;
  double dropout = 0.2, drop_path = 0;
};

/// Widen by 1x1, a convolution a channel, narrow by 1x1; beside it the input where the shapes are equal.
class InvertedResidual : public torch::nn::Module {
 public:
  InvertedResidual(const MobileConfig& net, const BlockConfig& block, double drop_path)
      : residual_(block.stride == 1 && block.in == block.out), drop_path_(drop_path) {
    parts_ = register_module(net.flat ? "conv" : "block", std::make_shared<torch::nn::Module>());
    if (block.expanded != block.in)
      expand_ = append(std::make_shared<ConvNorm>(Conv2dConfig{.in = block.in, .out = block.expanded},
                                                  net.norm, block.activation));
    depthwise_ = append(std::make_shared<ConvNorm>(Conv2dConfig{.in = block.expanded,
                                                                .out = block.expanded,
                                                                .kernel = block.kernel,
                                                                .stride = block.stride,
                                                                .padding = block.kernel / 2,
                                                                .groups = block.expanded},
                                                   net.norm, block.activation));
    if (block.squeezed > 0)
      excite_ = append(std::make_shared<SqueezeExcitation>(block.expanded, block.squeezed,
                                                           net.squeeze_activation, net.gate));
    const Conv2dConfig narrow{.in = block.expanded, .out = block.out};
    if (net.flat) {
      flat_conv_ = append(std::make_shared<Conv2d>(narrow));
      flat_norm_ = append(std::make_shared<BatchNorm>(block.out, net.norm.eps, net.norm.momentum));
    } else {
      project_ = append(std::make_shared<ConvNorm>(narrow, net.norm, Activation::kNone));
    }
  }

  /// `name`: of the draw of stochastic depth.
  MaskedTensor forward(const MaskedTensor& input, const std::string& name, Draws* draws) const {
    auto x = expand_ ? expand_->forward(input) : input;
    x = depthwise_->forward(x);
    if (excite_) x = excite_->forward(x);
    x = project_ ? project_->forward(x) : batch_norm(*flat_norm_, flat_conv_->forward(x));
    if (!residual_) return x;
    x.x = nn::drop_path(x.x, drop_path_, name, draws);
    return add(x, input);
  }

 private:
  template <class Part>
  std::shared_ptr<Part> append(std::shared_ptr<Part> part) {
    return parts_->register_module(std::to_string(parts_->children().size()), std::move(part));
  }

  bool residual_;
  double drop_path_;
  std::shared_ptr<torch::nn::Module> parts_;
  std::shared_ptr<ConvNorm> expand_, depthwise_, project_;
  std::shared_ptr<SqueezeExcitation> excite_;
  std::shared_ptr<Conv2d> flat_conv_;
  std::shared_ptr<BatchNorm> flat_norm_;
};

class MobileNet final : public ConvNet {
 public:
  explicit MobileNet(MobileConfig config) : config_(std::move(config)) {
    const auto features = register_module("features", std::make_shared<torch::nn::Module>());
    const auto conv = [&](const Conv2dConfig& sizes) {
      return features->register_module(std::to_string(features->children().size()),
                                       std::make_shared<ConvNorm>(sizes, config_.norm, config_.activation));
    };
    stem_ = conv({.in = config_.in_chans, .out = config_.stem, .kernel = 3, .stride = 2, .padding = 1});
    add_blocks(*features);
    last_ = conv({.in = config_.stages.back().back().out, .out = config_.last});
    children_ = static_cast<int64_t>(features->children().size());
    const auto classifier = register_module("classifier", std::make_shared<torch::nn::Module>());
    int64_t width = config_.last;
    if (config_.hidden > 0) {
      hidden_ = classifier->register_module("0", std::make_shared<Linear>(width, config_.hidden));
      width = config_.hidden;
    }
    head_name_ = hidden_ ? "3" : "1";
    head_ = classifier->register_module(head_name_, std::make_shared<Linear>(width, config_.num_classes));
  }

  Tensor features(const MaskedTensor& image, Draws* draws) const override {
    auto x = image;
    x.x = visible(image);
    x = stem_->forward(x);
    for (size_t i = 0; i < blocks_.size(); ++i) x = blocks_[i]->forward(x, str("drop_path.", i), draws);
    const auto mean = global_avg_pool(last_->forward(x)).flatten(1);
    return hidden_ ? at::hardswish(hidden_->forward(mean)) : mean;
  }
  Tensor head(const Tensor& features, Draws* draws) const override {
    return head_->forward(dropout(features, config_.dropout, "classifier", draws));
  }

  void initialize(Draws& draws) override {
    constexpr double kLinearDeviation = 0.01;
    initialize_conv_net(*this, draws);
    const torch::NoGradGuard no_grad;
    for (const auto& linear : {hidden_, head_}) {
      if (!linear) continue;
      normal_(linear->weight, kLinearDeviation, draws, linear == head_ ? "head" : "hidden");
      linear->bias.zero_();
    }
  }

  int64_t layers() const override { return children_ + 1; }
  int64_t layer_of(const std::string& name) const override {
    constexpr std::string_view kFeatures = "features.";
    return name.starts_with(kFeatures) ? std::stoll(name.substr(kFeatures.size())) : children_;
  }
  bool is_head(const std::string& name) const override {
    return name.starts_with("classifier." + head_name_ + ".");
  }

 private:
  void add_blocks(torch::nn::Module& features) {
    size_t total = 0;
    for (const auto& stage : config_.stages) total += stage.size();
    for (const auto& stage : config_.stages) {
      torch::nn::Module* parent = &features;
      if (config_.nested)
        parent = features
                     .register_module(std::to_string(features.children().size()),
                                      std::make_shared<torch::nn::Module>())
                     .get();
      for (const auto& block : stage) {
        const double rate =
            config_.drop_path * static_cast<double>(blocks_.size()) / static_cast<double>(total);
        blocks_.push_back(parent->register_module(std::to_string(parent->children().size()),
                                                  std::make_shared<InvertedResidual>(config_, block, rate)));
      }
    }
  }

  MobileConfig config_;
  std::shared_ptr<ConvNorm> stem_, last_;
  std::vector<std::shared_ptr<InvertedResidual>> blocks_;
  std::shared_ptr<Linear> hidden_, head_;
  std::string head_name_;
  int64_t children_ = 0;
};

MobileConfig begin(const ConvNetConfig& given) {
  MobileConfig out;
  out.arch = given.arch;
  out.in_chans = given.in_chans, out.num_classes = given.num_classes;
  out.norm.eps = given.norm_eps;
  return out;
}

MobileConfig mobilenet_v2(const ConvNetConfig& given) {
  auto out = begin(given);
  out.flat = true;
  int64_t in = out.stem;
  struct Stage {
    int64_t expansion, width, blocks, stride;
  };
  for (const auto& [expansion, width, blocks, stride] : {Stage{1, 16, 1, 1},
                                                         {6, 24, 2, 2},
                                                         {6, 32, 3, 2},
                                                         {6, 64, 4, 2},
                                                         {6, 96, 3, 1},
                                                         {6, 160, 3, 2},
                                                         {6, 320, 1, 1}}) {
    auto& stage = out.stages.emplace_back();
    for (int64_t i = 0; i < blocks; ++i, in = width)
      stage.push_back({.in = in, .expanded = in * expansion, .out = width, .stride = i == 0 ? stride : 1});
  }
  return out;
}

struct V3Block {
  int64_t kernel, expanded, out;
  bool squeeze, hardswish;
  int64_t stride;
};

MobileConfig mobilenet_v3(const ConvNetConfig& given, int64_t hidden, const std::vector<V3Block>& blocks) {
  constexpr double kMomentum = 0.01;
  constexpr int64_t kSqueeze = 4, kLastOver = 6;
  auto out = begin(given);
  out.stem = 16, out.hidden = hidden;
  out.activation = Activation::kHardswish;
  out.norm.momentum = kMomentum;
  auto& stage = out.stages.emplace_back();
  int64_t in = out.stem;
  for (const auto& block : blocks) {
    stage.push_back(
        {.in = in,
         .expanded = block.expanded,
         .out = block.out,
         .kernel = block.kernel,
         .stride = block.stride,
         .squeezed = block.squeeze ? make_divisible(static_cast<double>(block.expanded / kSqueeze)) : 0,
         .activation = block.hardswish ? Activation::kHardswish : Activation::kRelu});
    in = block.out;
  }
  out.last = kLastOver * in;
  return out;
}

// Tables 1 and 2 of the paper.
const std::vector<V3Block> kLarge = {
    {3, 16, 16, false, false, 1}, {3, 64, 24, false, false, 2}, {3, 72, 24, false, false, 1},
    {5, 72, 40, true, false, 2},  {5, 120, 40, true, false, 1}, {5, 120, 40, true, false, 1},
    {3, 240, 80, false, true, 2}, {3, 200, 80, false, true, 1}, {3, 184, 80, false, true, 1},
    {3, 184, 80, false, true, 1}, {3, 480, 112, true, true, 1}, {3, 672, 112, true, true, 1},
    {5, 672, 160, true, true, 2}, {5, 960, 160, true, true, 1}, {5, 960, 160, true, true, 1}};
const std::vector<V3Block> kSmall = {
    {3, 16, 16, true, false, 2}, {3, 72, 24, false, false, 2}, {3, 88, 24, false, false, 1},
    {5, 96, 40, true, true, 2},  {5, 240, 40, true, true, 1},  {5, 240, 40, true, true, 1},
    {5, 120, 48, true, true, 1}, {5, 144, 48, true, true, 1},  {5, 288, 96, true, true, 2},
    {5, 576, 96, true, true, 1}, {5, 576, 96, true, true, 1}};

/// How one of the family grows from EfficientNet-B0.
struct Growth {
  double width, depth, dropout;
  double norm_eps = 1e-5, norm_momentum = 0.1;
};

MobileConfig efficientnet(const ConvNetConfig& given, const Growth& growth) {
  constexpr double kDropPath = 0.2;
  constexpr int64_t kSqueeze = 4, kLastOver = 4;
  auto out = begin(given);
  const auto grown = [&](int64_t width) { return make_divisible(static_cast<double>(width) * growth.width); };
  out.stem = grown(32);
  out.nested = true;
  out.activation = out.squeeze_activation = Activation::kSilu;
  out.gate = Gate::kSigmoid;
  out.norm.momentum = growth.norm_momentum;
  out.dropout = growth.dropout, out.drop_path = kDropPath;
  struct Stage {
    int64_t expansion, kernel, stride, width, blocks;
  };
  int64_t in = out.stem;
  for (const auto& [expansion, kernel, stride, base, blocks] : {Stage{1, 3, 1, 16, 1},
                                                                {6, 3, 2, 24, 2},
                                                                {6, 5, 2, 40, 2},
                                                                {6, 3, 2, 80, 3},
                                                                {6, 5, 1, 112, 3},
                                                                {6, 5, 2, 192, 4},
                                                                {6, 3, 1, 320, 1}}) {
    auto& stage = out.stages.emplace_back();
    const int64_t width = grown(base);
    const auto depth = static_cast<int64_t>(std::ceil(static_cast<double>(blocks) * growth.depth));
    for (int64_t i = 0; i < depth; ++i, in = width)
      stage.push_back({.in = in,
                       .expanded = make_divisible(static_cast<double>(in * expansion)),
                       .out = width,
                       .kernel = kernel,
                       .stride = i == 0 ? stride : 1,
                       .squeezed = std::max<int64_t>(1, in / kSqueeze),
                       .activation = Activation::kSilu});
  }
  out.last = kLastOver * in;
  return out;
}

template <class Config>
ConvNetArch arch(const std::string& name, const std::string& summary, const std::string& head,
                 double norm_eps, Config config) {
  ConvNetArch out{.summary = summary, .sizes = {{"norm_eps", norm_eps}}};
  out.make = [config](const ConvNetConfig& given) { return std::make_shared<MobileNet>(config(given)); };
  out.recognize = [name, head](const auto& weights) {
    return recognize_by_shapes(name, {"features.0.0", head}, weights);
  };
  return out;
}

ConvNetArch efficient(const std::string& name, const std::string& summary, const Growth& growth) {
  return arch(name, summary, "classifier.1", growth.norm_eps,
              [growth](const ConvNetConfig& given) { return efficientnet(given, growth); });
}

Register<ConvNetArch> efficient_entry(int64_t number, const Growth& growth) {
  const auto name = str("efficientnet_b", number);
  return {name, efficient(name,
                          number == 0
                              ? "inverted residuals with squeeze-and-excitation"
                              : str("B0, ", growth.width, " times as wide, ", growth.depth, " times as deep"),
                          growth)};
}

constexpr double kV3Eps = 1e-3, kLargeEps = 1e-3, kLargeMomentum = 0.01;

const Register<ConvNetArch> registered[] = {
    {"mobilenet_v2", arch("mobilenet_v2", "inverted residuals, ReLU6", "classifier.1", 1e-5, mobilenet_v2)},
    {"mobilenet_v3_large",
     arch("mobilenet_v3_large", "15 inverted residuals, some with squeeze-and-excitation", "classifier.3",
          kV3Eps, [](const ConvNetConfig& given) { return mobilenet_v3(given, 1280, kLarge); })},
    {"mobilenet_v3_small",
     arch("mobilenet_v3_small", "11 inverted residuals, most with squeeze-and-excitation", "classifier.3",
          kV3Eps, [](const ConvNetConfig& given) { return mobilenet_v3(given, 1024, kSmall); })},
    efficient_entry(0, {1.0, 1.0, 0.2}),
    efficient_entry(1, {1.0, 1.1, 0.2}),
    efficient_entry(2, {1.1, 1.2, 0.3}),
    efficient_entry(3, {1.2, 1.4, 0.3}),
    efficient_entry(4, {1.4, 1.8, 0.4}),
    efficient_entry(5, {1.6, 2.2, 0.4, kLargeEps, kLargeMomentum}),
    efficient_entry(6, {1.8, 2.6, 0.5, kLargeEps, kLargeMomentum}),
    efficient_entry(7, {2.0, 3.1, 0.5, kLargeEps, kLargeMomentum})};

}  // namespace
}  // namespace lacuna::nn
