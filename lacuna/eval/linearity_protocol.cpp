// Linearity of features: a few segments are kept one at a time, and then all of them (Balasubramanian &
// Feizi, ICCV 2023). A network that sees nothing in a hole sees in four segments what it sees in each of
// them.

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/core/torch.h"
#include "lacuna/eval/linearity.h"
#include "lacuna/eval/removal.h"

namespace lacuna::eval {

Linearity linearity(const Tensor& parts, const Tensor& together) {
  constexpr double kEps = 1e-8;
  const auto length = [](const Tensor& x) {
    return at::linalg_vector_norm(x, 2, at::OptionalIntArrayRef({-1}), false);
  };
  const auto sum = parts.sum(1);
  return {.distance = length(sum - together) / (length(together) + kEps),
          .cosine = at::cosine_similarity(sum, together, 1, kEps),
          .magnitude = length(parts).mean(1)};
}

namespace {

/// [B, P, F] bool: P segments of each picture, each alone, drawn from those that it has.
Tensor single_segments(const Tensor& segments, int64_t parts, Draws& draws) {
  const auto areas = segment_sums(torch::ones(segments.sizes()), segments);
  const auto fewest = areas.gt(0).sum(1).min().item<int64_t>();
  if (fewest < parts)
    fail(str("explain.parts ", parts), str("a picture has ", fewest, " segments"),
         "take fewer, or smaller segments (explain.segment_size)");
  const auto rank = draws.uniform("linearity", areas.sizes()).masked_fill(areas.eq(0), 2);
  const auto chosen = rank.argsort(/*stable=*/true, 1, false).slice(1, 0, parts);
  return at::one_hot(chosen, areas.size(1)).to(torch::kBool);
}

Result run(const Request& request) {
  const torch::NoGradGuard no_grad;
  const auto& config = request.config.explain;
  const auto& model = classifier_of(request.model, "eval linearity");
  const auto device = request.model.method->parameters().front().device();
  std::vector<Remover> removers;
  for (const auto& name : config.compare) removers.emplace_back(model, request.model.normalization, name);
  std::map<std::string, std::map<std::string, std::vector<Tensor>>> found;  // metric, removal
  auto loader = make_loader(request.model, request.test, request.config);
  log::Progress progress("linearity");
  int64_t seen = 0;
  while (auto batch = loader.next_in_epoch()) {
    if (batch->size() == 0) continue;
    const auto image = batch->image.to(device);
    const auto segments = segment(image, config).cpu();
    SeededDraws draws(static_cast<uint64_t>(request.config.seed), 0, batch->sample);
    const auto alone = single_segments(segments, config.parts, draws);
    for (const auto& remover : removers) {
      const auto features = [&](const Tensor& on) {
        return remover.features(image, kept_pixels(segments, on).to(device)).to(torch::kFloat).cpu();
      };
      std::vector<Tensor> parts;
      for (const auto& on : alone.unbind(1)) parts.push_back(features(on));
      const auto measured = linearity(torch::stack(parts, 1), features(alone.any(1)));
      found["distance"][remover.name()].push_back(measured.distance);
      found["cosine"][remover.name()].push_back(measured.cosine);
      found["magnitude"][remover.name()].push_back(measured.magnitude);
    }
    progress.update(seen += batch->size(), request.test->size());
  }
  if (seen == 0) fail("--test", "no picture that can be read", "run `lacuna inspect` on it");
  Result result;
  for (const auto& [metric, removals] : found)
    for (const auto& [removal, values] : removals)
      result.metrics[str(metric, ".", removal)] = torch::cat(values).to(torch::kDouble).mean().item<double>();
  result.settings = {{"segments", config.segments},
                     {"segment_size", config.segment_size},
                     {"parts", config.parts},
                     {"test_size", seen}};
  return result;
}

const Register<Protocol> registered{
    "linearity",
    {.summary = "whether the features of segments kept one at a time add up to those of all of them "
                "(explain.* keys)",
     .run = run}};

}  // namespace
}  // namespace lacuna::eval
