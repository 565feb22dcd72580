// A method of one's own, outside lacuna's tree: MAE with an absolute error in place of the squared one.
#include <lacuna/method/mae.h>
#include <torch/torch.h>
using namespace lacuna;

struct AbsoluteMAE : MAE {
  using MAE::MAE;
  Loss forward(const Batch& batch, Draws& draws) override {
    const auto shuffle = draw_mask(batch.image, draws);  // which K of L patches stay visible
    const auto pred = predict_hidden(encode(batch.image, shuffle, &draws), shuffle);  // [B, L-K, P]
    const auto wanted = nn::gather_tokens(target(batch.image), shuffle.hidden());     // [B, L-K, P]
    return {.total = (pred - wanted).abs().mean(), .parts = {}, .stats = {}};
  }
};

static const Register<MethodInfo> registered{"absolute-mae",
                                             {.title = "MAE with an absolute error",
                                              .make_config = [] { return std::make_unique<MAEConfig>(); },
                                              .make =
                                                  [](const MethodConfig& config, Draws& draws) {
                                                    return std::make_shared<AbsoluteMAE>(
                                                        dynamic_cast<const MAEConfig&>(config), draws);
                                                  }}};
