// Golden cases of LIME's regression: the lime package's figures on given neighbours.

#include "lacuna/core/torch.h"
#include "lacuna/eval/lime.h"
#include "lacuna/method/golden.h"

namespace lacuna::eval {
namespace {

io::Tensors lime(const GoldenCase& golden) {
  const Json& keys = golden.config.at("lime");
  LimeConfig config;
  config.kernel_width = keys.value("kernel_width", config.kernel_width);
  config.num_features = keys.value("num_features", config.num_features);
  config.feature_selection = keys.value("feature_selection", config.feature_selection);
  config.ridge_alpha = keys.value("ridge_alpha", config.ridge_alpha);
  const auto data = golden.input("data"), prob = golden.input("prob");
  const auto distance = cosine_distances(data);
  const auto kernel = lime_kernel(distance, config.kernel_width);
  const auto label = std::get<1>(prob[0].topk(keys.value("top_labels", int64_t{2})));
  std::vector<Tensor> coef;
  std::vector<double> intercept, score, local_pred;
  for (int64_t i = 0; i < label.numel(); ++i) {
    const auto fit = fit_lime(data, prob.select(1, label[i].item<int64_t>()), kernel, config);
    coef.push_back(fit.coef);
    intercept.push_back(fit.intercept), score.push_back(fit.score), local_pred.push_back(fit.local_pred);
  }
  const auto floats = [](const std::vector<double>& values) {
    return torch::tensor(values, torch::kDouble).to(torch::kFloat);
  };
  return {{"distance", distance.to(torch::kFloat)},
          {"kernel", kernel.to(torch::kFloat)},
          {"label", label},
          {"coef", torch::stack(coef).to(torch::kFloat)},
          {"intercept", floats(intercept)},
          {"score", floats(score)},
          {"local_pred", floats(local_pred)}};
}

const Register<GoldenKind> registered{"layer-masking/lime", {lime}};

}  // namespace
}  // namespace lacuna::eval
