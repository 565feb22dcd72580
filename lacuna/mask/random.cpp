#include "lacuna/mask/random.h"

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna::mask {

void RandomConfig::fields(Fields& f) {
  f("type", type, "how hidden patches are chosen").choices({"random"});
  f("ratio", ratio, "share of the patches that is hidden").range(0, 1);
}

torch::Tensor Shuffle::is_hidden() const {
  return torch::zeros(order.sizes(), order.options().dtype(torch::kBool)).scatter_(1, hidden(), true);
}

int64_t kept_patches(int64_t patches, double ratio) {
  return static_cast<int64_t>(static_cast<double>(patches) * (1 - ratio));
}

void check_ratio(int64_t patches, double ratio) {
  const int64_t kept = kept_patches(patches, ratio);
  if (kept >= 1 && kept < patches) return;
  fail(str("mask.ratio ", ratio),
       str("of ", patches, " patches it leaves ", kept == 0 ? "none visible" : "none hidden"),
       "choose another ratio, a larger img_size or a smaller patch_size");
}

Shuffle random_shuffle(const RandomConfig& config, int64_t samples, int64_t patches, torch::Device device,
                       Draws& draws) {
  const auto noise = draws.uniform("noise", {samples, patches});
  return {noise.argsort(/*stable=*/true, 1, false).to(device), kept_patches(patches, config.ratio)};
}

}  // namespace lacuna::mask
