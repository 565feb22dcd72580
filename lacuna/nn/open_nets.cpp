// AlexNet (Krizhevsky, arXiv 1404.5997) and SqueezeNet (Iandola et al., arXiv 1602.07360) under torchvision's
// names. Their layers mask what they read, not what they give (conv_blocks.h, open_*).

#include <cmath>

#include "lacuna/core/torch.h"
#include "lacuna/nn/conv_blocks.h"
#include "lacuna/nn/dropout.h"
#include "lacuna/nn/init.h"
#include "lacuna/nn/layers.h"

namespace lacuna::nn {

namespace {

constexpr double kDropout = 0.5;
constexpr Pool2dConfig kPool{.kernel = 3, .stride = 2};
constexpr std::string_view kFeatures = "features.";

class AlexNet final : public ConvNet {
 public:
  explicit AlexNet(const ConvNetConfig& config) {
    const auto features = register_module("features", std::make_shared<torch::nn::Module>());
    int64_t in = config.in_chans;
    for (const auto& layer : kLayers) {
      convs_.push_back(features->register_module(
          std::to_string(layer.name), std::make_shared<Conv2d>(Conv2dConfig{.in = in,
                                                                            .out = layer.out,
                                                                            .kernel = layer.kernel,
                                                                            .stride = layer.stride,
                                                                            .padding = layer.padding,
                                                                            .bias = true})));
      in = layer.out;
    }
    const auto classifier = register_module("classifier", std::make_shared<torch::nn::Module>());
    const auto linear = [&](const char* name, int64_t from, int64_t to) {
      return classifier->register_module(name, std::make_shared<Linear>(from, to));
    };
    hidden_ = {linear("1", in * kGrid * kGrid, kWidth), linear("4", kWidth, kWidth)};
    head_ = linear("6", kWidth, config.num_classes);
  }

  Tensor features(const MaskedTensor& image, Draws* draws) const override {
    constexpr int64_t kLeastSide = 63;
    require_side(image.x, kLeastSide, "alexnet");
    auto x = image;
    x.x = visible(image);
    for (size_t i = 0; i < convs_.size(); ++i) {
      x = open_relu(open_conv(*convs_[i], x));
      if (kLayers[i].pool) x = open_max_pool(x, kPool, /*ceil_mode=*/false);
    }
    auto flat = at::adaptive_avg_pool2d(visible(x), {kGrid, kGrid}).flatten(1);
    for (size_t i = 0; i < hidden_.size(); ++i)
      flat = at::relu(hidden_[i]->forward(dropout(flat, kDropout, str("classifier.", i), draws)));
    return flat;
  }
  Tensor head(const Tensor& features, Draws* /*draws*/) const override { return head_->forward(features); }

  void initialize(Draws& draws) override {
    const torch::NoGradGuard no_grad;
    for (const auto& child : named_modules()) {
      if (const auto conv = std::dynamic_pointer_cast<Conv2d>(child.value()))
        default_conv_init_(conv->weight, conv->bias, draws, child.key());
      if (const auto linear = std::dynamic_pointer_cast<Linear>(child.value()))
        default_conv_init_(linear->weight, linear->bias, draws, child.key());
    }
  }

  int64_t layers() const override { return std::ssize(convs_) + std::ssize(hidden_) + 1; }
  int64_t layer_of(const std::string& name) const override {
    if (is_head(name)) return layers() - 1;
    if (!name.starts_with(kFeatures)) return std::ssize(convs_) + (name.starts_with("classifier.1.") ? 0 : 1);
    const auto number = std::stoll(name.substr(kFeatures.size()));
    int64_t layer = 0;
    while (kLayers[static_cast<size_t>(layer)].name != number) ++layer;
    return layer;
  }
  bool is_head(const std::string& name) const override { return name.starts_with("classifier.6."); }

 private:
  struct Layer {
    int64_t name, out, kernel, stride, padding;
    bool pool;
  };
  static constexpr Layer kLayers[] = {{0, 64, 11, 4, 2, true},
                                      {3, 192, 5, 1, 2, true},
                                      {6, 384, 3, 1, 1, false},
                                      {8, 256, 3, 1, 1, false},
                                      {10, 256, 3, 1, 1, true}};
  static constexpr int64_t kGrid = 6, kWidth = 4096;

  std::vector<std::shared_ptr<Conv2d>> convs_;
  std::vector<std::shared_ptr<Linear>> hidden_;
  std::shared_ptr<Linear> head_;
};

/// Narrow by 1x1, then 1x1 and 3x3 beside each other; kept where either is.
class Fire : public torch::nn::Module {
 public:
  Fire(int64_t in, int64_t squeezed, int64_t expanded) {
    const auto conv = [&](const char* name, const Conv2dConfig& config) {
      return register_module(name, std::make_shared<Conv2d>(config));
    };
    squeeze_ = conv("squeeze", {.in = in, .out = squeezed, .bias = true});
    expand1_ = conv("expand1x1", {.in = squeezed, .out = expanded, .bias = true});
    expand3_ = conv("expand3x3", {.in = squeezed, .out = expanded, .kernel = 3, .padding = 1, .bias = true});
  }
  MaskedTensor forward(const MaskedTensor& input) const {
    const auto x = open_relu(open_conv(*squeeze_, input));
    const auto one = open_relu(open_conv(*expand1_, x)), three = open_relu(open_conv(*expand3_, x));
    auto out = one;
    out.x = torch::cat({one.x, three.x}, 1);
    if (out.masked()) out.kept = (one.kept + three.kept).clamp_max(1);
    return out;
  }

 private:
  std::shared_ptr<Conv2d> squeeze_, expand1_, expand3_;
};

/// A pool, or a fire module of these widths.
struct Step {
  int64_t squeezed = 0, expanded = 0;
  bool is_pool() const { return squeezed == 0; }
};

struct SqueezeNetConfig {
  std::string name;
  int64_t stem_width = 64, stem_kernel = 3, least_side = 17;
  std::vector<Step> steps;
};

class SqueezeNet final : public ConvNet {
 public:
  SqueezeNet(const ConvNetConfig& given, SqueezeNetConfig config) : config_(std::move(config)) {
    const auto features = register_module("features", std::make_shared<torch::nn::Module>());
    stem_ =
        features->register_module("0", std::make_shared<Conv2d>(Conv2dConfig{.in = given.in_chans,
                                                                             .out = config_.stem_width,
                                                                             .kernel = config_.stem_kernel,
                                                                             .stride = 2,
                                                                             .bias = true}));
    int64_t width = config_.stem_width, number = kFirstStep;
    for (const auto& step : config_.steps) {
      auto& fire = fires_.emplace_back();
      if (!step.is_pool()) {
        fire = features->register_module(std::to_string(number),
                                         std::make_shared<Fire>(width, step.squeezed, step.expanded));
        width = 2 * step.expanded;
      }
      ++number;
    }
    const auto classifier = register_module("classifier", std::make_shared<torch::nn::Module>());
    head_ = classifier->register_module(
        "1", std::make_shared<Conv2d>(Conv2dConfig{.in = width, .out = given.num_classes, .bias = true}));
  }

  /// The classes are maps that are averaged, so that the features are their means: the logits.
  Tensor features(const MaskedTensor& image, Draws* draws) const override {
    require_side(image.x, config_.least_side, config_.name);
    auto x = image;
    x.x = visible(image);
    x = open_relu(open_conv(*stem_, x));
    for (const auto& fire : fires_) x = fire ? fire->forward(x) : open_max_pool(x, kPool, /*ceil_mode=*/true);
    x.x = dropout(x.x, kDropout, "classifier", draws);
    return visible(open_relu(open_conv(*head_, x))).mean({2, 3});
  }
  Tensor head(const Tensor& features, Draws* /*draws*/) const override { return features; }

  void initialize(Draws& draws) override {
    constexpr double kHeadDeviation = 0.01;
    const torch::NoGradGuard no_grad;
    for (const auto& child : named_modules()) {
      const auto conv = std::dynamic_pointer_cast<Conv2d>(child.value());
      if (!conv) continue;
      const auto name = child.key() + ".weight";
      const double fan_in = static_cast<double>(conv->weight[0].numel());
      if (conv == head_)
        normal_(conv->weight, kHeadDeviation, draws, name);
      else
        uniform_(conv->weight, std::sqrt(6 / fan_in), draws, name);
      conv->bias.zero_();
    }
  }

  int64_t layers() const override { return std::ssize(fires_) + 2; }
  int64_t layer_of(const std::string& name) const override {
    if (is_head(name)) return layers() - 1;
    const auto number = std::stoll(name.substr(kFeatures.size()));
    return number == 0 ? 0 : number - kFirstStep + 1;
  }
  bool is_head(const std::string& name) const override { return name.starts_with("classifier."); }

 private:
  static constexpr int64_t kFirstStep = 2;  // behind the stem and its ReLU
  SqueezeNetConfig config_;
  std::shared_ptr<Conv2d> stem_, head_;
  std::vector<std::shared_ptr<Fire>> fires_;  ///< null: a pool
};

constexpr Step kPoolStep{};
const SqueezeNetConfig kSqueezeNet10{"squeezenet1_0",
                                     96,
                                     7,
                                     21,
                                     {kPoolStep,
                                      {16, 64},
                                      {16, 64},
                                      {32, 128},
                                      kPoolStep,
                                      {32, 128},
                                      {48, 192},
                                      {48, 192},
                                      {64, 256},
                                      kPoolStep,
                                      {64, 256}}};
const SqueezeNetConfig kSqueezeNet11{"squeezenet1_1",
                                     64,
                                     3,
                                     17,
                                     {kPoolStep,
                                      {16, 64},
                                      {16, 64},
                                      kPoolStep,
                                      {32, 128},
                                      {32, 128},
                                      kPoolStep,
                                      {48, 192},
                                      {48, 192},
                                      {64, 256},
                                      {64, 256}}};

ConvNetArch alexnet() {
  ConvNetArch out{.summary = "5 convolutions and 3 linear layers; pictures of 63 pixels and more"};
  out.make = [](const ConvNetConfig& given) { return std::make_shared<AlexNet>(given); };
  out.recognize = [](const auto& weights) {
    return recognize_by_shapes("alexnet", {"features.0", "classifier.6"}, weights);
  };
  return out;
}

Register<ConvNetArch> squeezenet(const SqueezeNetConfig& config, const std::string& summary) {
  ConvNetArch out{.summary = summary};
  out.make = [config](const ConvNetConfig& given) { return std::make_shared<SqueezeNet>(given, config); };
  out.recognize = [config](const auto& weights) {
    return recognize_by_shapes(config.name, {"features.0", "classifier.1"}, weights);
  };
  return {config.name, out};
}

const Register<ConvNetArch> registered[] = {{"alexnet", alexnet()},
                                            squeezenet(kSqueezeNet10, "fire modules behind a 7x7 stem"),
                                            squeezenet(kSqueezeNet11, "the same at 2.4 times less work")};

}  // namespace
}  // namespace lacuna::nn
