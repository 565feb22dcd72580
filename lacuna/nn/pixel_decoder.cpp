#include "lacuna/nn/pixel_decoder.h"

#include <algorithm>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/activation_checkpoint.h"
#include "lacuna/nn/init.h"
#include "lacuna/nn/swin_block.h"
#include "lacuna/nn/vit.h"

namespace lacuna::nn {

namespace {

// Of the heavier heads' layer norms: the encoders' own.
constexpr double kTransformerEps = 1e-6, kSwinEps = 1e-5;

int64_t outputs_of(Size2 stride, int64_t in_chans) { return stride.area() * in_chans; }

/// A convolution of one pixel. weight [out, in, 1, 1], bias [out].
class PointConv : public torch::nn::Module {
 public:
  PointConv(int64_t features, int64_t outputs) {
    weight = register_parameter("weight", torch::zeros({outputs, features, 1, 1}));
    bias = register_parameter("bias", torch::zeros({outputs}));
  }
  Tensor forward(const Tensor& z) const { return at::linear(z, weight.flatten(1), bias); }
  void initialize(Draws& draws, const std::string& name) const {
    default_conv_init_(weight, bias, draws, name);
  }

  Tensor weight, bias;
};

class LinearDecoder : public PixelDecoder {
 public:
  explicit LinearDecoder(const PixelDecoderInput& input) : PixelDecoder(input.grid, input.stride) {
    head_ =
        register_module("0", std::make_shared<PointConv>(input.dim, outputs_of(stride(), input.in_chans)));
  }
  void initialize(Draws& draws, const std::string& name) override { head_->initialize(draws, name + ".0"); }
  Tensor predict(const Tensor& tokens) const override { return head_->forward(tokens); }

 private:
  std::shared_ptr<PointConv> head_;
};

class MlpDecoder : public PixelDecoder {
 public:
  MlpDecoder(const PixelDecoderConfig& config, const PixelDecoderInput& input)
      : PixelDecoder(input.grid, input.stride) {
    const int64_t width = config.embed_dim > 0 ? config.embed_dim : input.dim;
    hidden_ = register_module("0", std::make_shared<PointConv>(input.dim, width));
    head_ = register_module("2", std::make_shared<PointConv>(width, outputs_of(stride(), input.in_chans)));
  }
  void initialize(Draws& draws, const std::string& name) override {
    hidden_->initialize(draws, name + ".0");
    head_->initialize(draws, name + ".2");
  }
  Tensor predict(const Tensor& tokens) const override {
    return head_->forward(at::gelu(hidden_->forward(tokens)));
  }

 private:
  std::shared_ptr<PointConv> hidden_, head_;
};

/// Norm and head behind tokens `dim` wide: what the deep decoders end in.
class DeepDecoder : public PixelDecoder {
 public:
  Tensor predict(const Tensor& tokens) const override { return pred_->forward(norm_->forward(tokens)); }

 protected:
  DeepDecoder(Size2 grid, Size2 stride) : PixelDecoder(grid, stride) {}
  void add_head(int64_t dim, double eps, int64_t in_chans) {
    norm_ = register_module("norm", std::make_shared<LayerNorm>(dim, eps));
    pred_ = register_module("pred", std::make_shared<Linear>(dim, outputs_of(stride(), in_chans)));
  }

 private:
  std::shared_ptr<LayerNorm> norm_;
  std::shared_ptr<Linear> pred_;
};

class TransformerDecoder : public DeepDecoder {
 public:
  TransformerDecoder(const PixelDecoderConfig& config, const PixelDecoderInput& input)
      : DeepDecoder(input.grid, input.stride) {
    if (config.num_heads.size() != 1)
      fail("decoder.num_heads", str(config.num_heads.size(), " numbers for a decoder without stages"),
           "give one");
    const int64_t width = config.embed_dim, heads = config.num_heads[0];
    if (width % heads != 0 || width % 4 != 0)
      fail(str("decoder.embed_dim ", width), str("no multiple of both 4 and its ", heads, " heads"),
           "choose another width or other decoder.num_heads");
    embed_ = register_module("embed", std::make_shared<Linear>(input.dim, width));
    pos_embed_ = register_parameter("pos_embed", sincos_2d(width, input.grid, 0), /*requires_grad=*/false);
    const auto list = register_module("blocks", torch::nn::ModuleList());
    for (int64_t i = 0; i < config.depth; ++i) {
      const BlockConfig block{
          .dim = width, .num_heads = heads, .mlp_ratio = config.mlp_ratio, .norm_eps = kTransformerEps};
      blocks_.push_back(std::make_shared<Block>(block, str("decoder.blocks.", i)));
      list->push_back(blocks_.back());
    }
    add_head(width, kTransformerEps, input.in_chans);
  }
  void initialize(Draws& draws, const std::string& name) override { initialize_linears(*this, draws, name); }
  Tensor tokens(const Tensor& z) const override {
    return run_blocks(blocks_, embed_->forward(z) + pos_embed_, nullptr);
  }

 private:
  std::shared_ptr<Linear> embed_;
  Tensor pos_embed_;
  std::vector<std::shared_ptr<Block>> blocks_;
};

/// One token becomes two by two of half the width: patch merging the other way round. x [B, h*w, C] -> [B,
/// 4*h*w, C/2].
class PatchSplitting : public torch::nn::Module {
 public:
  PatchSplitting(Size2 grid, int64_t dim) : grid_(grid) {
    expand_ = register_module("expand", std::make_shared<Linear>(dim, 2 * dim, /*with_bias=*/false));
    norm_ = register_module("norm", std::make_shared<LayerNorm>(dim / 2, kSwinEps));
  }
  Tensor forward(const Tensor& x) const {
    const int64_t B = x.size(0), C = x.size(2);
    const auto four = expand_->forward(x)
                          .view({B, grid_.h, grid_.w, 2, 2, C / 2})
                          .transpose(2, 3)
                          .reshape({B, 4 * grid_.area(), C / 2});
    return norm_->forward(four);
  }

 private:
  Size2 grid_;
  std::shared_ptr<Linear> expand_;
  std::shared_ptr<LayerNorm> norm_;
};

class InverseSwin : public DeepDecoder {
 public:
  InverseSwin(const PixelDecoderConfig& config, const PixelDecoderInput& input)
      : DeepDecoder(finer(input.grid, config), coarser(input.stride, config)) {
    check(config, input);
    const size_t stages = config.depths.size();
    embed_ = register_module("embed", std::make_shared<Linear>(input.dim, config.embed_dim << (stages - 1)));
    const auto layers = register_module("layers", torch::nn::ModuleList());
    for (size_t s = 0; s < stages; ++s) {
      const Size2 grid{input.grid.h << s, input.grid.w << s};
      const int64_t dim = config.embed_dim << (stages - 1 - s);
      const auto layer = std::make_shared<torch::nn::Module>();
      const auto list = layer->register_module("blocks", torch::nn::ModuleList());
      Stage stage;
      for (int64_t i = 0; i < config.depths[s]; ++i) {
        const SwinBlockConfig block{.dim = dim,
                                    .num_heads = config.num_heads[s],
                                    .window = window_of(grid, config.window_size),
                                    .shift = shift_of(grid, config.window_size, i),
                                    .grid = grid,
                                    .mlp_ratio = config.mlp_ratio,
                                    .norm_eps = kSwinEps,
                                    .drop_path = 0,
                                    .qkv_bias = true};
        stage.blocks.push_back(std::make_shared<SwinBlock>(block, str("decoder.layers.", s, ".blocks.", i)));
        list->push_back(stage.blocks.back());
      }
      if (s + 1 < stages)
        stage.upsample = layer->register_module("upsample", std::make_shared<PatchSplitting>(grid, dim));
      layers->push_back(layer);
      stages_.push_back(std::move(stage));
    }
    add_head(config.embed_dim, kSwinEps, input.in_chans);
  }

  void initialize(Draws& draws, const std::string& name) override {
    for (const auto& child : named_modules(name, /*include_self=*/false))
      if (const auto linear = std::dynamic_pointer_cast<Linear>(child.value()))
        trunc_normal_(linear->weight, 0.02, draws, child.key() + ".weight");
    for (const auto& stage : stages_)
      for (const auto& block : stage.blocks) block->initialize(draws);
  }

  Tensor tokens(const Tensor& z) const override {
    auto x = embed_->forward(z);
    for (const auto& stage : stages_) {
      for (const auto& block : stage.blocks)
        x = run_block([&block = *block](const auto& in) { return block.forward(in[0], nullptr); }, {x});
      if (stage.upsample) x = stage.upsample->forward(x);
    }
    return x;
  }

 private:
  static int64_t factor(const PixelDecoderConfig& config) {
    return int64_t{1} << (config.depths.empty() ? 0 : config.depths.size() - 1);
  }
  static Size2 finer(Size2 grid, const PixelDecoderConfig& config) {
    return {grid.h * factor(config), grid.w * factor(config)};
  }
  static Size2 coarser(Size2 stride, const PixelDecoderConfig& config) {
    return {stride.h / factor(config), stride.w / factor(config)};
  }

  static void check(const PixelDecoderConfig& config, const PixelDecoderInput& input) {
    const size_t stages = config.depths.size();
    if (stages == 0 || config.num_heads.size() != stages)
      fail("decoder.depths and decoder.num_heads", str(stages, " and ", config.num_heads.size(), " stages"),
           "give one number for each stage in both");
    const int64_t most = std::min(input.stride.h / input.patch.h, input.stride.w / input.patch.w);
    if (factor(config) > most)
      fail(str("decoder.depths has ", stages, " stages"),
           str("each but the first halves the ", input.stride,
               " pixels of a token, down to the encoder's patches of ", input.patch),
           "give as many stages as the encoder has, or fewer");
    for (size_t s = 0; s < stages; ++s) {
      const int64_t dim = config.embed_dim << (stages - 1 - s);
      const Size2 grid{input.grid.h << s, input.grid.w << s};
      const int64_t window = window_of(grid, config.window_size);
      if (dim % config.num_heads[s] != 0)
        fail(str("decoder.num_heads ", config.num_heads[s]),
             str("does not divide stage ", s, "'s width ", dim), "choose heads that divide it");
      if (grid.h % window != 0 || grid.w % window != 0)
        fail(str("decoder.window_size ", config.window_size),
             str("does not tile stage ", s, "'s grid of ", grid), "choose the encoder's window_size");
    }
  }

  struct Stage {
    std::vector<std::shared_ptr<SwinBlock>> blocks;
    std::shared_ptr<PatchSplitting> upsample;  // null after the last stage
  };
  std::shared_ptr<Linear> embed_;
  std::vector<Stage> stages_;
};

}  // namespace

void PixelDecoderConfig::fields(Fields& f) {
  f("type", type, "what predicts the pixels: one linear layer, or the paper's heavier ones")
      .choices({"linear", "mlp", "transformer", "inverse-swin"});
  f("embed_dim", embed_dim,
    "mlp: hidden width, 0 for the encoder's; transformer: width; inverse-swin: of the last stage")
      .range(0);
  f("depth", depth, "transformer: number of blocks").range(1);
  f("depths", depths, "inverse-swin: number of blocks of each stage, coarse to fine").range(1);
  f("num_heads", num_heads, "attention heads of a block; inverse-swin: for each stage").range(1);
  f("window_size", window_size, "inverse-swin: side of an attention window in tokens").range(1);
  f("mlp_ratio", mlp_ratio, "transformer, inverse-swin: hidden width of the MLP over the token's").range(0);
}

void PixelDecoderConfig::resolve(const ConfigTable& table, const std::string& prefix) {
  const auto unless_given = [&](const char* key, auto& value, auto habit) {
    if (!table.is_set(prefix + "." + key)) value = habit;
  };
  if (type == "transformer") unless_given("embed_dim", embed_dim, int64_t{512});  // as MAE's decoder
  if (type == "inverse-swin") {                                                   // Swin-T's sizes
    unless_given("embed_dim", embed_dim, int64_t{96});
    unless_given("num_heads", num_heads, std::vector<int64_t>{24, 12, 6, 3});
  }
  const bool deep = type == "transformer" || type == "inverse-swin";
  if (deep && embed_dim < 1) fail(str(prefix, ".embed_dim 0"), "a decoder of blocks has a width", "give it");
}

std::shared_ptr<PixelDecoder> make_pixel_decoder(const PixelDecoderConfig& config,
                                                 const PixelDecoderInput& input) {
  if (config.type == "mlp") return std::make_shared<MlpDecoder>(config, input);
  if (config.type == "transformer") return std::make_shared<TransformerDecoder>(config, input);
  if (config.type == "inverse-swin") return std::make_shared<InverseSwin>(config, input);
  return std::make_shared<LinearDecoder>(input);
}

}  // namespace lacuna::nn
