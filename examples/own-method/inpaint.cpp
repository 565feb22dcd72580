// A method of one's own, outside lacuna's tree: hidden patches are painted over with the mean (0 after
// normalisation), a ViT sees the whole picture, and a linear layer predicts the pixels of the hidden patches.
#include <lacuna/mask/random.h>
#include <lacuna/method/method.h>
#include <lacuna/nn/init.h>
#include <lacuna/nn/vit.h>
#include <lacuna/target/patches.h>
#include <torch/torch.h>

using namespace lacuna;

struct InpaintConfig : MethodConfig {
  nn::ViTConfig encoder;
  mask::RandomConfig mask;
  void fields(Fields& f) override { f.group("encoder", encoder), f.group("mask", mask); }
  void resolve(const ConfigTable& table) override { encoder.resolve(table, "encoder"); }
};

struct Inpaint : Method {
  Inpaint(const InpaintConfig& given, Draws& draws) : config(given), patch(given.encoder.patch_size) {
    vit = register_module("encoder", std::make_shared<nn::ViT>(config.encoder));
    const int64_t width = config.encoder.embed_dim, pixels = patch.area() * config.encoder.in_chans;
    head = register_module("head", std::make_shared<nn::Linear>(width, pixels));
    vit->initialize(draws);
    nn::initialize_linears(*head, draws, "head");
  }

  Loss forward(const Batch& batch, Draws& draws) override {
    const auto& image = batch.image;  // [B, C, H, W]
    const auto grid = config.encoder.grid();
    const auto hidden = mask::random_shuffle(config.mask, batch.size(), grid.area(), image.device(), draws)
                            .is_hidden();  // [B, L]
    const auto painted = image * (1 - target::patch_mask_to_pixels(hidden.to(torch::kFloat), patch, grid));
    const auto tokens = vit->forward_features(painted).slice(1, vit->prefix_tokens());  // [B, L, D]
    const auto error = head->forward(tokens) - target::patchify(image, patch);          // [B, L, P]
    return {.total = error.square().index({hidden}).mean(), .parts = {}, .stats = {}};
  }
  Tensor features(const Batch& batch, const FeatureOptions& options) override {
    const torch::NoGradGuard no_grad;
    return vit->pool(vit->forward_features(batch.image), options.pool == "token" ? "token" : "avg");
  }
  Preview preview(const Batch& batch, Draws&) override { return {.image = batch.image}; }
  InputSpec input() const override { return {config.encoder.in_chans, config.encoder.img_size}; }

  InpaintConfig config;
  Size2 patch;
  std::shared_ptr<nn::ViT> vit;
  std::shared_ptr<nn::Linear> head;
};

static const Register<MethodInfo> registered{
    "inpaint",
    {.title = "Inpainting, an example of a method outside the library",
     .defaults = {"train.base_lr=1e-3"},
     .make_config = [] { return std::make_unique<InpaintConfig>(); },
     .make =
         [](const MethodConfig& config, Draws& draws) {
           return std::make_shared<Inpaint>(dynamic_cast<const InpaintConfig&>(config), draws);
         }}};
