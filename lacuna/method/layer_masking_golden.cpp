// Golden cases of layer masking: single layers, a narrow ResNet with the mask carried through it, and any
// network that encoder.arch names.

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/method/golden.h"
#include "lacuna/nn/encoder_config.h"
#include "lacuna/nn/resnet.h"

namespace lacuna {
namespace {

using nn::HoleFill;
using nn::MaskedTensor;

/// The case's names of the three ways to fill a hole.
const std::map<std::string, HoleFill> kFills = {
    {"neighbor", HoleFill::kNeighbor}, {"zero", HoleFill::kZero}, {"partial", HoleFill::kPartial}};

void load(torch::nn::Module& module, const GoldenCase& golden, const std::string& prefix) {
  const torch::NoGradGuard no_grad;
  const auto copy = [&](const auto& items) {
    for (const auto& item : items) {
      const auto found = golden.weights.find(prefix + item.key());
      if (found == golden.weights.end()) {
        if (item.key().ends_with("num_batches_tracked")) continue;
        fail("weights.safetensors", str("holds no tensor '", prefix, item.key(), "'"), "add it");
      }
      item.value().copy_(found->second);
    }
  };
  copy(module.named_parameters());
  copy(module.named_buffers());
  module.eval();
}

nn::Pool2dConfig pool(const Json& numbers) {
  return {.kernel = numbers[0].get<int64_t>(),
          .stride = numbers[1].get<int64_t>(),
          .padding = numbers[2].get<int64_t>()};
}

/// Each convolution in every mode that the case holds outputs of.
void run_convs(const GoldenCase& golden, const MaskedTensor& input, io::Tensors& out) {
  for (const auto& [name, keys] : golden.config.at("convs").items()) {
    const auto weight = golden.weights.at(name + ".weight");
    const int64_t groups = keys.value("groups", 1);
    nn::Conv2d conv({.in = weight.size(1) * groups,
                     .out = weight.size(0),
                     .kernel = keys.at("kernel_size").get<int64_t>(),
                     .stride = keys.at("stride").get<int64_t>(),
                     .padding = keys.at("padding").get<int64_t>(),
                     .groups = groups,
                     .bias = keys.at("bias").get<bool>()});
    load(conv, golden, name + ".");
    for (const auto& [mode, fill] : kFills) {
      auto masked = input;
      masked.fill = fill;
      const auto result = conv.forward(masked);
      if (golden.outputs.count(name + "." + mode)) out[name + "." + mode] = result.x;
      out[name + ".mask"] = result.kept;
    }
  }
}

io::Tensors layers(const GoldenCase& golden) {
  const torch::NoGradGuard no_grad;
  const MaskedTensor input{.x = golden.input("x"), .kept = golden.input("mask")};
  io::Tensors out;
  for (const auto& rounds : golden.config.at("fill_iterations"))
    out[str("fill", rounds)] = nn::fill_from_neighbors(input.x, input.kept, rounds.get<int64_t>());
  run_convs(golden, input, out);
  const MaskedTensor visible{.x = input.x * input.kept, .kept = input.kept};
  const auto max = nn::max_pool(visible, pool(golden.config.at("pool").at("maxpool")));
  const auto avg = nn::avg_pool(visible, pool(golden.config.at("pool").at("avgpool")));
  out["maxpool"] = max.x, out["maxpool.mask"] = max.kept;
  out["avgpool"] = avg.x, out["avgpool.mask"] = avg.kept;
  out["globalpool"] = nn::global_avg_pool(input);
  nn::BatchNorm norm(input.x.size(1));
  load(norm, golden, "bn.");
  out["bn"] = nn::batch_norm(norm, input).x;
  out["sigmoid"] = nn::pointwise(input, [](const at::Tensor& x) { return at::sigmoid(x); }).x;
  out["gelu"] = at::gelu(input.x);
  return out;
}

nn::ResNetConfig resnet_config(const Json& encoder, int64_t channels) {
  nn::ResNetConfig config;
  const auto arch = encoder.at("arch").get<std::string>();
  if (arch != "resnet-bottleneck" && arch != "resnet-basic")
    fail("encoder.arch " + arch, "unknown", "use resnet-bottleneck or resnet-basic");
  config.bottleneck = arch == "resnet-bottleneck";
  config.in_chans = channels;
  config.num_classes = encoder.at("num_classes").get<int64_t>();
  config.stem_width = encoder.at("stem").get<int64_t>();
  config.planes = encoder.at("planes").get<std::vector<int64_t>>();
  config.strides = encoder.at("strides").get<std::vector<int64_t>>();
  config.depths.assign(config.planes.size(), encoder.at("blocks_per_stage").get<int64_t>());
  config.groups = encoder.at("groups").get<int64_t>();
  config.base_width = encoder.at("base_width").get<int64_t>();
  config.expansion = encoder.at("expansion").get<int64_t>();
  config.norm_eps = encoder.at("bn_eps").get<double>();
  return config;
}

/// What a removed pixel is painted with, in normalised units: the data's mean, and black.
at::Tensor painted(const at::Tensor& image, const at::Tensor& kept, bool black) {
  const auto mean = torch::tensor({0.485, 0.456, 0.406}, torch::kFloat),
             std = torch::tensor({0.229, 0.224, 0.225}, torch::kFloat);
  const auto colour = (black ? -mean / std : torch::zeros(3)).view({1, 3, 1, 1});
  return image * kept + colour * (1 - kept);
}

io::Tensors resnet(const GoldenCase& golden) {
  const auto image = golden.input("image").clone().set_requires_grad(true);
  const auto kept = golden.input("mask");
  nn::ResNet network(resnet_config(golden.config.at("encoder"), image.size(1)));
  load(network, golden, "");
  io::Tensors out;
  const auto logits = [&](const MaskedTensor& input) {
    return network.head(network.features(input, nullptr), nullptr);
  };
  const auto neighbor = logits({.x = image, .kept = kept});
  const auto loss = at::cross_entropy_loss(neighbor, torch::arange(image.size(0)));
  loss.backward();
  out["loss"] = loss.detach(), out["logits.neighbor"] = neighbor.detach();
  out["grad.input"] = image.grad();
  for (const auto& item : network.named_parameters()) out["grad." + item.key()] = item.value().grad();

  const torch::NoGradGuard no_grad;
  for (const auto& [mode, fill] : kFills)
    if (golden.outputs.count("logits." + mode))
      out["logits." + mode] = logits({.x = image, .kept = kept, .fill = fill});
  out["logits.plain"] = logits({.x = image});
  out["logits.grey"] = logits({.x = painted(image, kept, false)});
  out["logits.black"] = logits({.x = painted(image, kept, true)});
  const auto stages = network.stages({.x = image, .kept = kept});
  for (size_t i = 0; i < stages.size(); ++i)
    out[str("act", i)] = stages[i].x, out[str("mask", i)] = stages[i].kept;
  return out;
}

/// encoder.*: as in a recipe, with num_classes. logits.plain of `image`, the others with `mask`.
io::Tensors network(const GoldenCase& golden) {
  auto keys = golden.config.at("encoder");
  const auto num_classes = keys.at("num_classes").get<int64_t>();
  keys.erase("num_classes");
  nn::EncoderConfig encoder;
  ConfigTable table;
  table.add("encoder", encoder);
  table.merge({{"encoder", keys}}, "case.toml");
  encoder.resolve(table, "encoder");
  const auto made =
      Registry<nn::ConvNetArch>::instance().get(encoder.arch).make(encoder.conv_net(num_classes));
  load(*made, golden, "");
  const torch::NoGradGuard no_grad;
  const auto logits = [&](const MaskedTensor& input) {
    return made->head(made->features(input, nullptr), nullptr);
  };
  const auto image = golden.input("image");
  io::Tensors out{{"logits.plain", logits({.x = image})}};
  for (const auto& [mode, fill] : kFills)
    if (golden.outputs.count("logits." + mode))
      out["logits." + mode] = logits({.x = image, .kept = golden.input("mask"), .fill = fill});
  return out;
}

const Register<GoldenKind> registered[] = {{"layer-masking/layers", {layers}},
                                           {"layer-masking/resnet", {resnet}},
                                           {"layer-masking/network", {network}}};

}  // namespace
}  // namespace lacuna
