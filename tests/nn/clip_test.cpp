#include "lacuna/nn/clip.h"

#include <gtest/gtest.h>

#include "lacuna/core/torch.h"
#include "lacuna/io/safetensors.h"
#include "lacuna/nn/weights.h"
#include "tests/support/shared.h"

namespace lacuna::nn {
namespace {

TEST(ClipVision, ImageFeaturesAreOpenAIs) {
  LACUNA_NEEDS_SHARED("goldens/clip/openai");
  const auto folder = lacuna::testing::shared_folder() / "goldens/clip/openai";
  const std::string prefix = "visual.";
  NamedTensors visual;
  for (const auto& [name, tensor] : io::load_safetensors(folder / "weights.safetensors"))
    if (name.starts_with(prefix)) visual[name.substr(prefix.size())] = tensor;
  ClipVisionConfig config;
  config.img_size = {32, 32}, config.patch_size = {8, 8};
  config.embed_dim = 48, config.depth = 2, config.num_heads = 3;
  const ClipVision model(config, 24);
  load_weights(named_tensors(model), visual, "golden case");
  const torch::NoGradGuard no_grad;
  const auto tokens = model.tokens(io::load_safetensors(folder / "inputs.safetensors").at("image"));
  EXPECT_EQ(tokens.sizes(), (std::vector<int64_t>{4, 17, 24}));
  const auto wanted = io::load_safetensors(folder / "outputs.safetensors").at("image_features");
  EXPECT_TRUE(torch::allclose(tokens.select(1, 0), wanted, 1e-4, 1e-5));
}

}  // namespace
}  // namespace lacuna::nn
