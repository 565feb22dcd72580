#include "lacuna/nn/sst.h"

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/activation_checkpoint.h"
#include "lacuna/nn/attention.h"
#include "lacuna/nn/init.h"

namespace lacuna::nn {

namespace {

constexpr double kEps = 1e-5;

/// [W * T, 3D] with empty places; `filled` [W, T].
Tensor padded_attention(const Tensor& qkv, int64_t heads, const Tensor& filled) {
  const int64_t W = filled.size(0), T = filled.size(1), D = qkv.size(1) / 3;
  const auto parts = qkv.view({W, T, 3, heads, D / heads}).permute({2, 0, 3, 1, 4}).unbind(0);
  const auto keys = filled.view({W, 1, 1, T}).expand({W, 1, T, T});
  return at::scaled_dot_product_attention(parts[0], parts[1], parts[2], keys)
      .transpose(1, 2)
      .reshape({W * T, D});
}

/// nn.MultiheadAttention's parameters over sparse windows.
class WindowAttention : public torch::nn::Module {
 public:
  WindowAttention(int64_t dim, int64_t heads) : dim_(dim), heads_(heads) {
    const auto inner = register_module("self_attn", std::make_shared<torch::nn::Module>());
    weight_ = inner->register_parameter("in_proj_weight", torch::zeros({3 * dim, dim}));
    bias_ = inner->register_parameter("in_proj_bias", torch::zeros({3 * dim}));
    out_ = inner->register_module("out_proj", std::make_shared<Linear>(dim, dim));
  }

  void initialize(Draws& draws, const std::string& prefix) {
    xavier_uniform_(weight_, draws, prefix + "self_attn.in_proj_weight");
    xavier_uniform_(out_->weight, draws, prefix + "self_attn.out_proj.weight");
  }

  /// x [N, dim] -> what its windows' cells give.
  Tensor forward(const Tensor& x, const Tensor& position, const RegionBatches& regions) const {
    const auto qk = at::linear(x + position, weight_.slice(0, 0, 2 * dim_), bias_.slice(0, 0, 2 * dim_));
    const auto v = at::linear(x, weight_.slice(0, 2 * dim_), bias_.slice(0, 2 * dim_));
    const auto qkv = torch::cat({qk, v}, 1).index_select(0, regions.order);  // [N, 3D]
    std::vector<Tensor> attended;
    for (const auto& batch : regions.batches)
      attended.push_back(attend(qkv.slice(0, batch.first, batch.first + batch.count), batch));
    if (attended.empty()) return x;
    return out_->forward(torch::cat(attended).index_select(0, regions.inverse));
  }

 private:
  Tensor attend(const Tensor& qkv, const RegionBatch& batch) const {
    if (!batch.place.defined())
      return self_attention(qkv.view({batch.windows, batch.tokens, 3 * dim_}), heads_).flatten(0, 1);
    const auto places =
        torch::zeros({batch.windows * batch.tokens, 3 * dim_}, qkv.options()).index_copy(0, batch.place, qkv);
    return padded_attention(places, heads_, batch.filled).index_select(0, batch.place);
  }

  int64_t dim_, heads_;
  Tensor weight_, bias_;
  std::shared_ptr<Linear> out_;
};

}  // namespace

class SstLayer : public torch::nn::Module {
 public:
  explicit SstLayer(const SstConfig& config) : relu_(config.activation == "relu") {
    attention_ = register_module("win_attn", std::make_shared<WindowAttention>(config.dim, config.num_heads));
    linear1_ = register_module("linear1", std::make_shared<Linear>(config.dim, config.mlp_dim));
    linear2_ = register_module("linear2", std::make_shared<Linear>(config.mlp_dim, config.dim));
    norm1_ = register_module("norm1", std::make_shared<LayerNorm>(config.dim, kEps));
    norm2_ = register_module("norm2", std::make_shared<LayerNorm>(config.dim, kEps));
  }

  void initialize(Draws& draws, const std::string& prefix) {
    attention_->initialize(draws, prefix + "win_attn.");
    for (const auto& [name, linear] : {std::pair("linear1", linear1_), std::pair("linear2", linear2_)}) {
      default_conv_init_(linear->weight, linear->bias, draws, prefix + name);
      xavier_uniform_(linear->weight, draws, str(prefix, name, ".weight"));
    }
  }

  Tensor forward(const Tensor& x, const Tensor& position, const RegionBatches& regions) const {
    const auto seen = norm1_->forward(x + attention_->forward(x, position, regions));
    const auto inner = linear1_->forward(seen);
    return norm2_->forward(seen + linear2_->forward(relu_ ? at::relu(inner) : at::gelu(inner)));
  }

 private:
  bool relu_;
  std::shared_ptr<WindowAttention> attention_;
  std::shared_ptr<Linear> linear1_, linear2_;
  std::shared_ptr<LayerNorm> norm1_, norm2_;
};

SstPlaces sst_places(const Tensor& coords, const SstConfig& config) {
  SstPlaces out;
  for (size_t i = 0; i < 2; ++i) {
    const auto layout = window_layout(coords, config.window, /*shifted=*/i == 1);
    out.position[i] = window_positions(layout.in_window, config.window, config.dim, config.temperature,
                                       config.normalize_pos);
    out.batches[i] = region_batches(layout.window, config.levels);
  }
  return out;
}

SstStack::SstStack(const SstConfig& config, int64_t blocks) {
  for (int64_t b = 0; b < blocks; ++b) {
    const auto list = register_module(str(b), std::make_shared<torch::nn::Module>())
                          ->register_module("encoder_list", std::make_shared<torch::nn::Module>());
    for (int64_t i = 0; i < 2; ++i)
      layers_.push_back(list->register_module(str(i), std::make_shared<SstLayer>(config)));
  }
}

void SstStack::initialize(Draws& draws, const std::string& prefix) {
  for (size_t i = 0; i < layers_.size(); ++i)
    layers_[i]->initialize(draws, str(prefix, i / 2, ".encoder_list.", i % 2, "."));
}

Tensor SstStack::forward(Tensor x, const SstPlaces& places) const {
  for (size_t i = 0; i < layers_.size(); ++i)
    x = run_block([layer = layers_[i], position = places.position[i % 2], regions = places.batches[i % 2]](
                      const auto& in) { return layer->forward(in[0], position, regions); },
                  {x});
  return x;
}

}  // namespace lacuna::nn
