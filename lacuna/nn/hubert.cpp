#include "lacuna/nn/hubert.h"

#include <cctype>
#include <charconv>
#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/dropout.h"
#include "lacuna/nn/init.h"

namespace lacuna::nn {

namespace {

constexpr double kEps = 1e-5;
constexpr double kLinearStd = 0.02;

class GradientScale : public torch::autograd::Function<GradientScale> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, double factor) {
    context->saved_data["factor"] = factor;
    return x.view_as(x);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list grads) {
    return {grads[0] * context->saved_data["factor"].toDouble(), Tensor()};
  }
};

/// Reads "[(a,b,c)] + [(d,e,f)] * n" from left to right.
class ConvReader {
 public:
  explicit ConvReader(const std::string& text) : text_(text) {}

  std::vector<ConvLayer> read() {
    std::vector<ConvLayer> out;
    do {
      const auto group = list();
      const int64_t times = take('*') ? number() : 1;
      for (int64_t i = 0; i < times; ++i) out.insert(out.end(), group.begin(), group.end());
    } while (take('+'));
    skip();
    if (at_ != text_.size() || out.empty()) refuse();
    return out;
  }

 private:
  std::vector<ConvLayer> list() {
    std::vector<ConvLayer> out;
    expect('[');
    do {
      expect('(');
      ConvLayer layer;
      layer.dim = number(), expect(','), layer.kernel = number(), expect(','), layer.stride = number();
      expect(')');
      out.push_back(layer);
    } while (take(','));
    expect(']');
    return out;
  }

  int64_t number() {
    skip();
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (error != std::errc() || value < 1) refuse();
    at_ = static_cast<size_t>(end - text_.data());
    return value;
  }
  void skip() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
  }
  bool take(char c) {
    skip();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!take(c)) refuse();
  }
  [[noreturn]] void refuse() const {
    fail(str("encoder.conv_layers '", text_, "'"), str("can't be read from its character ", at_ + 1, " on"),
         "write [(channels, kernel, stride)] * times + ..., e.g. [(512,10,5)] + [(512,3,2)] * 4");
  }

  const std::string& text_;
  size_t at_ = 0;
};

/// Numbered children, so that names are those of torch.nn.Sequential in fairseq.
std::shared_ptr<torch::nn::Module> child(torch::nn::Module& parent, const std::string& name) {
  return parent.register_module(name, std::make_shared<torch::nn::Module>());
}

}  // namespace

Tensor scale_gradient(const Tensor& x, double factor) {
  return factor == 1 ? x : GradientScale::apply(x, factor);
}

std::vector<ConvLayer> parse_conv_layers(const std::string& text) { return ConvReader(text).read(); }

void HubertConfig::fields(Fields& f) {
  f("arch", arch, "size: the two of the paper, or every key as given")
      .choices({"hubert_base", "hubert_large", "hubert"});
  f("conv_layers", conv_layers,
    "front-end: (channels, kernel, stride) of each convolution, as fairseq writes it");
  f("conv_norm", conv_norm, "group norm behind the first convolution, or layer norm behind each")
      .choices({"group", "layer"});
  f("conv_bias", conv_bias, "biases in the front-end");
  f("embed_dim", embed_dim, "width of the transformer").range(1);
  f("depth", depth, "number of blocks").range(1);
  f("num_heads", num_heads, "attention heads of a block").range(1);
  f("mlp_ratio", mlp_ratio, "hidden width of the MLP over embed_dim").range(0);
  f("activation", activation, "of the MLP").choices({"gelu", "relu"});
  f("pre_norm", pre_norm, "norms before the branches (Large) instead of behind them (Base)");
  f("conv_pos", conv_pos, "taps of the convolution that tells positions").range(1);
  f("conv_pos_groups", conv_pos_groups, "its groups").range(1);
  f("dropout", dropout, "dropout of each branch and of the transformer's input").range(0, 0.99);
  f("attention_dropout", attention_dropout, "dropout of attention weights").range(0, 0.99);
  f("activation_dropout", activation_dropout, "dropout inside the MLP").range(0, 0.99);
  f("dropout_input", dropout_input, "dropout of the projected features").range(0, 0.99);
  f("layerdrop", layerdrop, "chance that a block is skipped in a step, by all processes alike")
      .range(0, 0.99);
  f("feature_grad_mult", feature_grad_mult, "factor on the front-end's gradient; 0: frozen").range(0);
}

void HubertConfig::resolve(const ConfigTable& table, const std::string& prefix) {
  const auto given = [&](const char* key) { return table.is_set(prefix + "." + key); };
  if (arch == "hubert_large") {
    if (!given("embed_dim")) embed_dim = 1024;
    if (!given("depth")) depth = 24;
    if (!given("num_heads")) num_heads = 16;
    if (!given("pre_norm")) pre_norm = true;
    if (!given("conv_norm")) conv_norm = "layer";
    if (!given("feature_grad_mult")) feature_grad_mult = 1;
    for (auto [key, value] : {std::pair<const char*, double*>{"dropout", &dropout},
                              {"attention_dropout", &attention_dropout},
                              {"dropout_input", &dropout_input},
                              {"layerdrop", &layerdrop}})
      if (!given(key)) *value = 0;
  }
  if (embed_dim % num_heads != 0)
    fail(str(prefix, ".embed_dim ", embed_dim), str("not a multiple of num_heads ", num_heads),
         "choose heads that divide the width");
  if (embed_dim % conv_pos_groups != 0)
    fail(str(prefix, ".embed_dim ", embed_dim), str("not a multiple of conv_pos_groups ", conv_pos_groups),
         "choose groups that divide the width");
  conv();
}

int64_t HubertConfig::stride() const {
  int64_t product = 1;
  for (const auto& layer : conv()) product *= layer.stride;
  return product;
}

int64_t HubertConfig::field() const {
  int64_t size = 1, step = 1;
  for (const auto& layer : conv()) size += (layer.kernel - 1) * step, step *= layer.stride;
  return size;
}

int64_t HubertConfig::frames(int64_t samples) const {
  for (const auto& layer : conv()) {
    if (samples < layer.kernel) return 0;
    samples = (samples - layer.kernel) / layer.stride + 1;
  }
  return samples;
}

ConvFeatures::ConvFeatures(const HubertConfig& config) : layer_norm_(config.conv_norm == "layer") {
  const auto all = child(*this, "conv_layers");
  int64_t channels = 1;
  for (const auto& size : config.conv()) {
    const auto index = layers_.size();
    const auto own = child(*all, std::to_string(index));
    Layer layer{.size = size, .weight = {}, .bias = {}, .norm_weight = {}, .norm_bias = {}};
    const auto conv = child(*own, "0");
    layer.weight = conv->register_parameter("weight", torch::zeros({size.dim, channels, size.kernel}));
    if (config.conv_bias) layer.bias = conv->register_parameter("bias", torch::zeros({size.dim}));
    if (layer_norm_ || index == 0) {
      auto norm = child(*own, "2");
      if (layer_norm_) norm = child(*norm, "1");
      layer.norm_weight = norm->register_parameter("weight", torch::ones({size.dim}));
      layer.norm_bias = norm->register_parameter("bias", torch::zeros({size.dim}));
    }
    layers_.push_back(layer);
    channels = size.dim;
  }
}

Tensor ConvFeatures::forward(const Tensor& wave) const {
  auto x = wave.unsqueeze(1);  // [B, 1, N]
  for (const auto& layer : layers_) {
    x = torch::conv1d(x, layer.weight, layer.bias, layer.size.stride);
    if (layer_norm_)
      x = torch::layer_norm(x.transpose(1, 2), {layer.size.dim}, layer.norm_weight, layer.norm_bias, kEps)
              .transpose(1, 2);
    else if (layer.norm_weight.defined())
      x = torch::group_norm(x, layer.size.dim, layer.norm_weight, layer.norm_bias, kEps);
    x = torch::gelu(x);
  }
  return x;
}

void ConvFeatures::initialize(Draws& draws, const std::string& name) {
  for (size_t i = 0; i < layers_.size(); ++i) {
    const auto& weight = layers_[i].weight;
    const auto fan_in = static_cast<double>(weight.size(1) * weight.size(2));
    normal_(weight, std::sqrt(2.0 / fan_in), draws, str(name, ".conv_layers.", i, ".0.weight"));
  }
}

ConvPositions::ConvPositions(const HubertConfig& config)
    : kernel_(config.conv_pos), groups_(config.conv_pos_groups) {
  const auto conv = child(*this, "0");
  const int64_t D = config.embed_dim;
  weight_g_ = conv->register_parameter("weight_g", torch::ones({1, 1, kernel_}));
  weight_v_ = conv->register_parameter("weight_v", torch::ones({D, D / groups_, kernel_}));
  bias_ = conv->register_parameter("bias", torch::zeros({D}));
}

Tensor ConvPositions::forward(const Tensor& x) const {
  const auto weight = torch::_weight_norm(weight_v_, weight_g_, /*dim=*/2);
  auto y = torch::conv1d(x.transpose(1, 2), weight, bias_, /*stride=*/1, /*padding=*/kernel_ / 2,
                         /*dilation=*/1, groups_);
  if (kernel_ % 2 == 0) y = y.slice(2, 0, -1);
  return torch::gelu(y).transpose(1, 2);
}

void ConvPositions::initialize(Draws& draws, const std::string& name) {
  const torch::NoGradGuard no_grad;
  const auto fan = static_cast<double>(kernel_ * weight_v_.size(0));
  normal_(weight_v_, std::sqrt(4.0 / fan), draws, name + ".0.weight_v");
  weight_g_.copy_(torch::linalg_vector_norm(weight_v_, 2, c10::IntArrayRef({0, 1}), true));
}

HubertBlock::HubertBlock(const HubertConfig& config, std::string name)
    : config_(config), name_(std::move(name)) {
  const int64_t D = config.embed_dim;
  const auto hidden = static_cast<int64_t>(std::llround(static_cast<double>(D) * config.mlp_ratio));
  const auto attention = child(*this, "self_attn");
  k_ = attention->register_module("k_proj", std::make_shared<Linear>(D, D));
  v_ = attention->register_module("v_proj", std::make_shared<Linear>(D, D));
  q_ = attention->register_module("q_proj", std::make_shared<Linear>(D, D));
  out_ = attention->register_module("out_proj", std::make_shared<Linear>(D, D));
  attn_norm_ = register_module("self_attn_layer_norm", std::make_shared<LayerNorm>(D, kEps));
  fc1_ = register_module("fc1", std::make_shared<Linear>(D, hidden));
  fc2_ = register_module("fc2", std::make_shared<Linear>(hidden, D));
  final_norm_ = register_module("final_layer_norm", std::make_shared<LayerNorm>(D, kEps));
}

Tensor HubertBlock::attention(const Tensor& x, const Tensor& padding, Draws* draws) const {
  const int64_t B = x.size(0), T = x.size(1), H = config_.num_heads;
  const auto heads = [&](const Tensor& y) { return y.view({B, T, H, -1}).transpose(1, 2); };
  const auto q = heads(q_->forward(x)), k = heads(k_->forward(x)), v = heads(v_->forward(x));
  const Tensor seen = padding.defined() ? padding.logical_not().view({B, 1, 1, T}) : Tensor();
  Tensor y;  // [B, H, T, D / H]
  if (draws == nullptr || config_.attention_dropout <= 0) {
    y = at::scaled_dot_product_attention(q, k, v, seen.defined() ? c10::make_optional(seen) : c10::nullopt);
  } else {
    auto scores = torch::matmul(q, k.transpose(2, 3)) / std::sqrt(static_cast<double>(q.size(3)));
    if (seen.defined()) scores = scores.masked_fill(~seen, -INFINITY);
    const auto weights = dropout(scores.softmax(-1), config_.attention_dropout, name_ + ".attention", draws);
    y = torch::matmul(weights, v);
  }
  return dropout(out_->forward(y.transpose(1, 2).reshape({B, T, -1})), config_.dropout, name_ + ".dropout1",
                 draws);
}

Tensor HubertBlock::mlp(const Tensor& x, Draws* draws) const {
  const auto inner = fc1_->forward(x);
  const auto hidden = dropout(config_.activation == "relu" ? torch::relu(inner) : torch::gelu(inner),
                              config_.activation_dropout, name_ + ".dropout2", draws);
  return dropout(fc2_->forward(hidden), config_.dropout, name_ + ".dropout3", draws);
}

Tensor HubertBlock::forward(const Tensor& x, const Tensor& padding, Draws* draws) const {
  if (config_.pre_norm) {
    const auto y = x + attention(attn_norm_->forward(x), padding, draws);
    return y + mlp(final_norm_->forward(y), draws);
  }
  const auto y = attn_norm_->forward(x + attention(x, padding, draws));
  return final_norm_->forward(y + mlp(y, draws));
}

HubertEncoder::HubertEncoder(const HubertConfig& config) : config_(config) {
  pos_conv_ = register_module("pos_conv", std::make_shared<ConvPositions>(config));
  const auto list = child(*this, "layers");
  for (int64_t i = 0; i < config.depth; ++i)
    blocks_.push_back(list->register_module(
        std::to_string(i), std::make_shared<HubertBlock>(config, str("encoder.layers.", i))));
  layer_norm_ = register_module("layer_norm", std::make_shared<LayerNorm>(config.embed_dim, kEps));
}

Tensor HubertEncoder::embed(const Tensor& x, const Tensor& padding, Draws* draws) const {
  const auto clean = padding.defined() ? x.masked_fill(padding.unsqueeze(-1), 0) : x;
  auto y = clean + pos_conv_->forward(clean);
  if (!config_.pre_norm) y = layer_norm_->forward(y);
  return dropout(y, config_.dropout, "encoder.dropout", draws);
}

Tensor HubertEncoder::forward(const Tensor& x, const Tensor& padding, Draws* draws,
                              const std::vector<char>& skipped) const {
  auto y = embed(x, padding, draws);
  for (size_t i = 0; i < blocks_.size(); ++i)
    if (skipped.empty() || skipped[i] == 0) y = blocks_[i]->forward(y, padding, draws);
  return last_norm(y);
}

Tensor HubertEncoder::last_norm(const Tensor& x) const {
  return config_.pre_norm ? layer_norm_->forward(x) : x;
}

std::vector<Tensor> HubertEncoder::layers(const Tensor& x, const Tensor& padding, int64_t last) const {
  std::vector<Tensor> out{embed(x, padding, nullptr)};
  for (int64_t i = 0; i < std::min<int64_t>(last, std::ssize(blocks_)); ++i)
    out.push_back(blocks_[static_cast<size_t>(i)]->forward(out.back(), padding, nullptr));
  return out;
}

void HubertEncoder::initialize(Draws& draws, const std::string& name) {
  pos_conv_->initialize(draws, name + ".pos_conv");
  for (const auto& item : named_parameters())
    if (item.key().starts_with("layers.") && item.value().dim() == 2)
      normal_(item.value(), kLinearStd, draws, name + "." + item.key());
}

}  // namespace lacuna::nn
