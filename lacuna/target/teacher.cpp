#include "lacuna/target/teacher.h"

#include <algorithm>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/io/safetensors.h"
#include "lacuna/nn/clip.h"
#include "lacuna/nn/vit.h"
#include "lacuna/nn/weights.h"

namespace lacuna::target {

namespace {

constexpr int64_t kHeadWidth = 64;

/// A file's tensors with what they must be.
struct File {
  std::string path, kind;
  io::Tensors tensors;

  at::IntArrayRef sizes(const std::string& name, size_t dims) const {
    const auto found = tensors.find(name);
    if (found == tensors.end() || static_cast<size_t>(found->second.dim()) != dims)
      fail(path, str("holds no '", name, "' of ", dims, " dimensions, so it is no ViT of ", kind),
           "give weights of that network (loss.target, loss.teacher)");
    return found->second.sizes();
  }

  int64_t depth(const std::string& blocks, const std::string& norm) const {
    int64_t count = 0;
    while (tensors.count(str(blocks, ".", count, ".", norm, ".weight"))) ++count;
    return count;
  }

  /// Error unless the teacher cuts pictures as the student does and has a position for each patch.
  void check_grid(at::IntArrayRef kernel, int64_t positions, Size2 img_size, Size2 patch_size) const {
    const Size2 own{kernel[2], kernel[3]};
    const Size2 grid{img_size.h / patch_size.h, img_size.w / patch_size.w};
    if (own == patch_size && positions == 1 + grid.area() && kernel[1] == 3) return;
    fail(path,
         str("a teacher of ", positions - 1, " patches of ", own, " and ", kernel[1], " channels, for ",
             grid.area(), " patches of ", patch_size),
         "use encoder.img_size and encoder.patch_size of the teacher, and pictures of 3 channels");
  }

  /// Those that `own` has, as float32.
  nn::NamedTensors only(const nn::NamedTensors& own) const {
    nn::NamedTensors out;
    for (const auto& [name, tensor] : tensors)
      if (own.count(name)) out[name] = tensor.to(torch::kFloat);
    return out;
  }
};

/// `Network`, whose tokens behind the first are the patches'.
template <class Network>
class Frozen final : public Teacher {
 public:
  Frozen(std::shared_ptr<Network> network, const File& file, int64_t dim)
      : network_(std::move(network)), dim_(dim) {
    const auto own = nn::named_tensors(*network_);
    nn::load_weights(own, file.only(own), file.path);
    for (auto& parameter : network_->parameters()) parameter.requires_grad_(false);
  }
  torch::Tensor forward(const torch::Tensor& image) const override {
    const torch::NoGradGuard no_grad;
    if constexpr (std::is_same_v<Network, nn::ViT>)
      return network_->forward_features(image).slice(1, 1);
    else
      return network_->tokens(image).slice(1, 1);
  }
  int64_t dim() const override { return dim_; }
  void to(torch::Device device) override { network_->to(device); }

 private:
  std::shared_ptr<Network> network_;
  int64_t dim_;
};

std::unique_ptr<Teacher> open_dino(const File& file, Size2 img_size, Size2 patch_size) {
  const auto kernel = file.sizes("patch_embed.proj.weight", 4);
  file.check_grid(kernel, file.sizes("pos_embed", 3)[1], img_size, patch_size);
  nn::ViTConfig config;
  config.arch = "vit";
  config.img_size = img_size, config.patch_size = patch_size;
  config.embed_dim = kernel[0];
  config.depth = file.depth("blocks", "norm1");
  config.num_heads = std::max<int64_t>(1, kernel[0] / kHeadWidth);
  config.pos_embed = "learned";
  return std::make_unique<Frozen<nn::ViT>>(std::make_shared<nn::ViT>(config), file, kernel[0]);
}

std::unique_ptr<Teacher> open_clip(File file, Size2 img_size, Size2 patch_size) {
  const std::string prefix = "visual.";
  io::Tensors visual;
  for (const auto& [name, tensor] : file.tensors)
    if (name.starts_with(prefix)) visual[name.substr(prefix.size())] = tensor;
  if (!visual.empty()) file.tensors = std::move(visual);
  const auto kernel = file.sizes("conv1.weight", 4);
  file.check_grid(kernel, file.sizes("positional_embedding", 2)[0], img_size, patch_size);
  const int64_t dim = file.sizes("proj", 2)[1];
  nn::ClipVisionConfig config;
  config.img_size = img_size, config.patch_size = patch_size;
  config.embed_dim = kernel[0];
  config.depth = file.depth("transformer.resblocks", "ln_1");
  config.num_heads = std::max<int64_t>(1, kernel[0] / kHeadWidth);
  return std::make_unique<Frozen<nn::ClipVision>>(std::make_shared<nn::ClipVision>(config, dim), file, dim);
}

}  // namespace

std::unique_ptr<Teacher> open_teacher(const std::string& kind, const std::string& path, Size2 img_size,
                                      Size2 patch_size) {
  const File file{path, kind, io::load_safetensors(path)};
  return kind == "clip" ? open_clip(file, img_size, patch_size) : open_dino(file, img_size, patch_size);
}

}  // namespace lacuna::target
