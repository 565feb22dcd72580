#include "lacuna/nn/resnet.h"

#include <numeric>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna::nn {

namespace {

constexpr int64_t kWidthOfBase = 64;  // planes that base_width is given for

int64_t out_width(const ResNetConfig& config, int64_t planes) {
  return config.bottleneck ? planes * config.expansion : planes;
}

}  // namespace

ResNetBlock::ResNetBlock(const ResNetConfig& config, int64_t in, int64_t planes, int64_t stride) {
  const double eps = config.norm_eps;
  const int64_t out = out_width(config, planes);
  if (config.bottleneck) {
    const int64_t width = planes * config.base_width / kWidthOfBase * config.groups;
    add_conv(in, width, 1, 1, 1, eps);
    add_conv(width, width, 3, stride, config.groups, eps);
    add_conv(width, out, 1, 1, 1, eps);
  } else {
    add_conv(in, planes, 3, stride, 1, eps);
    add_conv(planes, planes, 3, 1, 1, eps);
  }
  if (stride == 1 && in == out) return;
  const auto downsample = register_module("downsample", std::make_shared<torch::nn::Module>());
  shortcut_conv_ = downsample->register_module(
      "0", std::make_shared<Conv2d>(Conv2dConfig{.in = in, .out = out, .kernel = 1, .stride = stride}));
  shortcut_norm_ = downsample->register_module("1", std::make_shared<BatchNorm>(out, eps));
}

void ResNetBlock::add_conv(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t groups,
                           double eps) {
  const auto number = convs_.size() + 1;
  const Conv2dConfig conv{
      .in = in, .out = out, .kernel = kernel, .stride = stride, .padding = kernel / 2, .groups = groups};
  convs_.push_back(register_module(str("conv", number), std::make_shared<Conv2d>(conv)));
  norms_.push_back(register_module(str("bn", number), std::make_shared<BatchNorm>(out, eps)));
}

MaskedTensor ResNetBlock::forward(const MaskedTensor& input) const {
  auto branch = input;
  for (size_t i = 0; i < convs_.size(); ++i) {
    branch = batch_norm(*norms_[i], convs_[i]->forward(branch));
    if (i + 1 < convs_.size()) branch = relu(branch);
  }
  const auto shortcut = shortcut_conv_ ? batch_norm(*shortcut_norm_, shortcut_conv_->forward(input)) : input;
  return relu(add(branch, shortcut));
}

ResNet::ResNet(const ResNetConfig& config) : config_(config) {
  const int64_t kernel = config.small_stem ? 3 : 7;
  conv1_ = register_module("conv1", std::make_shared<Conv2d>(Conv2dConfig{.in = config.in_chans,
                                                                          .out = config.stem_width,
                                                                          .kernel = kernel,
                                                                          .stride = config.small_stem ? 1 : 2,
                                                                          .padding = kernel / 2}));
  bn1_ = register_module("bn1", std::make_shared<BatchNorm>(config.stem_width, config.norm_eps));
  int64_t width = config.stem_width;
  for (size_t stage = 0; stage < config.depths.size(); ++stage) {
    const auto layer = register_module(str("layer", stage + 1), std::make_shared<torch::nn::Module>());
    auto& blocks = layers_.emplace_back();
    for (int64_t k = 0; k < config.depths[stage]; ++k) {
      const int64_t stride = k == 0 ? config.strides[stage] : 1;
      blocks.push_back(layer->register_module(
          std::to_string(k), std::make_shared<ResNetBlock>(config, width, config.planes[stage], stride)));
      width = out_width(config, config.planes[stage]);
    }
  }
  fc_ = register_module("fc", std::make_shared<Linear>(width, config.num_classes));
}

std::vector<MaskedTensor> ResNet::stages(const MaskedTensor& image) const {
  auto x = image;
  if (x.masked()) x.x = x.x * x.kept;
  x = relu(batch_norm(*bn1_, conv1_->forward(x)));
  if (!config_.small_stem) x = max_pool(x, {.kernel = 3, .stride = 2, .padding = 1});
  std::vector<MaskedTensor> out{x};
  for (const auto& blocks : layers_) {
    for (const auto& block : blocks) x = block->forward(x);
    out.push_back(x);
  }
  return out;
}

Tensor ResNet::features(const MaskedTensor& image, Draws* /*draws*/) const {
  return global_avg_pool(stages(image).back()).flatten(1);
}

Tensor ResNet::head(const Tensor& features, Draws* /*draws*/) const { return fc_->forward(features); }

int64_t ResNet::layers() const {
  return std::accumulate(config_.depths.begin(), config_.depths.end(), int64_t{0}) + 2;
}

int64_t ResNet::layer_of(const std::string& name) const {
  constexpr std::string_view kStage = "layer";
  if (is_head(name)) return layers() - 1;
  if (!name.starts_with(kStage)) return 0;
  const auto stage = std::stoll(name.substr(kStage.size())) - 1;
  const auto block = std::stoll(name.substr(name.find('.') + 1));
  return std::accumulate(config_.depths.begin(), config_.depths.begin() + stage, int64_t{0}) + block + 1;
}

namespace {

std::shared_ptr<ConvNet> make_resnet(const ConvNetConfig& config, bool bottleneck) {
  ResNetConfig out;
  out.bottleneck = bottleneck;
  out.in_chans = config.in_chans, out.num_classes = config.num_classes;
  out.small_stem = config.stem == "conv3";
  out.stem_width = config.embed_dim;
  out.depths = config.depths;
  out.planes.clear(), out.strides.clear();
  for (size_t stage = 0; stage < config.depths.size(); ++stage) {
    out.planes.push_back(config.embed_dim << stage);
    out.strides.push_back(stage == 0 ? 1 : 2);
  }
  out.groups = config.groups, out.base_width = config.base_width;
  out.norm_eps = config.norm_eps;
  if (config.depths.empty() || config.depths.size() > 8)
    fail("encoder.depths", str(config.depths.size(), " stages"), "give the blocks of 1 to 8 stages");
  if (bottleneck && (config.embed_dim * config.base_width) % kWidthOfBase != 0)
    fail(str("encoder.base_width ", config.base_width),
         str("is no whole share of encoder.embed_dim ", config.embed_dim),
         "make their product a multiple of 64");
  if (!bottleneck && (config.groups != 1 || config.base_width != kWidthOfBase))
    fail("encoder.groups and encoder.base_width", "belong to bottleneck blocks",
         "leave them out, or use encoder.arch = resnet-bottleneck");
  return std::make_shared<ResNet>(out);
}

/// Sizes read off the tensors; nothing unless they are a residual network's of this kind of block.
std::optional<Json> recognize_resnet(const std::map<std::string, Tensor>& weights, bool bottleneck) {
  const auto find = [&](const std::string& name) -> const Tensor* {
    const auto found = weights.find(name);
    return found == weights.end() || found->second.dim() != 4 ? nullptr : &found->second;
  };
  const auto *stem = find("conv1.weight"), *first = find("layer1.0.conv1.weight");
  const auto* second = find("layer1.0.conv2.weight");
  const auto fc = weights.find("fc.weight");
  if (!stem || !first || !second || fc == weights.end() ||
      (find("layer1.0.conv3.weight") != nullptr) != bottleneck)
    return std::nullopt;
  std::vector<int64_t> depths;
  for (int64_t stage = 1; find(str("layer", stage, ".0.conv1.weight")); ++stage) {
    depths.push_back(0);
    while (find(str("layer", stage, ".", depths.back(), ".conv1.weight"))) ++depths.back();
  }
  const int64_t width = stem->size(0), groups = first->size(0) / second->size(1);
  Json sizes = {{"arch", bottleneck ? "resnet-bottleneck" : "resnet"},
                {"in_chans", stem->size(1)},
                {"embed_dim", width},
                {"depths", depths},
                {"stem", stem->size(2) == 3 ? "conv3" : "conv7-pool"}};
  if (bottleneck) {
    sizes["groups"] = groups;
    sizes["base_width"] = first->size(0) / groups * kWidthOfBase / width;
  }
  return Json{{"encoder", std::move(sizes)}, {"num_classes", fc->second.size(0)}};
}

ConvNetArch arch(bool bottleneck, const std::string& summary, Json sizes = Json::object()) {
  ConvNetArch out{.summary = summary, .sizes = std::move(sizes)};
  out.make = [bottleneck](const ConvNetConfig& config) { return make_resnet(config, bottleneck); };
  return out;
}

ConvNetArch bare(bool bottleneck, const std::string& summary) {
  auto out = arch(bottleneck, summary, {{"embed_dim", 64}, {"depths", {2, 2, 2, 2}}});
  out.recognize = [bottleneck](const auto& weights) { return recognize_resnet(weights, bottleneck); };
  return out;
}

Json depths(std::vector<int64_t> blocks) { return {{"embed_dim", 64}, {"depths", std::move(blocks)}}; }

Json with(Json sizes, const Json& more) {
  sizes.update(more);
  return sizes;
}

/// The CIFAR networks of He et al., section 4.2.
Json cifar(int64_t blocks) {
  return {{"embed_dim", 16}, {"depths", {blocks, blocks, blocks}}, {"stem", "conv3"}};
}

const Register<ConvNetArch> registered[] = {
    {"resnet", bare(false, "basic blocks; takes encoder.depths, embed_dim and stem")},
    {"resnet-bottleneck", bare(true, "bottleneck blocks; takes also encoder.groups and base_width")},
    {"resnet8", arch(false, "CIFAR's, 3 blocks, width 16", cifar(1))},
    {"resnet20", arch(false, "CIFAR's, 9 blocks, width 16", cifar(3))},
    {"resnet56", arch(false, "CIFAR's, 27 blocks, width 16", cifar(9))},
    {"resnet18", arch(false, "8 basic blocks, width 64", depths({2, 2, 2, 2}))},
    {"resnet34", arch(false, "16 basic blocks, width 64", depths({3, 4, 6, 3}))},
    {"resnet50", arch(true, "16 bottleneck blocks, width 64", depths({3, 4, 6, 3}))},
    {"resnet101", arch(true, "33 bottleneck blocks, width 64", depths({3, 4, 23, 3}))},
    {"resnext50_32x4d", arch(true, "ResNet-50 with 32 groups of width 4",
                             with(depths({3, 4, 6, 3}), {{"groups", 32}, {"base_width", 4}}))},
    {"wide_resnet50_2", arch(true, "ResNet-50 with 3x3 convolutions twice as wide",
                             with(depths({3, 4, 6, 3}), {{"base_width", 128}}))}};

}  // namespace
}  // namespace lacuna::nn
