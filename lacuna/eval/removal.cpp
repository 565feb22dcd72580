#include "lacuna/eval/removal.h"

#include <algorithm>
#include <map>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/mask/segments.h"

namespace lacuna::eval {

namespace {

/// Removals in which the network itself leaves the part out.
const std::map<std::string, nn::HoleFill> kFills = {{"layer-masking", nn::HoleFill::kNeighbor},
                                                    {"zero-filling", nn::HoleFill::kZero},
                                                    {"partial-convolution", nn::HoleFill::kPartial},
                                                    {"token-dropping", nn::HoleFill::kNeighbor}};
/// Paints, in units of [0, 1]; the others depend on the data or the picture.
const std::map<std::string, std::vector<double>> kColours = {
    {"red", {1, 0, 0}}, {"green", {0, 1, 0}}, {"blue", {0, 0, 1}}};
const std::vector<std::string> kOtherPaints = {"grey", "black", "smooth-grey", "average"};

/// 5x5 Gaussian of deviation 1, mirrored at the picture's edge.
Tensor blurred(const Tensor& image) {
  constexpr int64_t kReach = 2;
  const auto line = torch::arange(-kReach, kReach + 1, image.options()).square().div(-2).exp();
  const auto weights = line / line.sum();
  const int64_t C = image.size(1), size = 2 * kReach + 1;
  const auto kernel = (weights.unsqueeze(1) * weights).expand({C, 1, size, size});
  return at::conv2d(at::reflection_pad2d(image, {kReach, kReach, kReach, kReach}), kernel, {},
                    std::vector<int64_t>{1, 1}, std::vector<int64_t>{0, 0}, std::vector<int64_t>{1, 1}, C);
}

}  // namespace

std::vector<std::string> removal_names() {
  std::vector<std::string> out = kOtherPaints;
  for (const auto& [name, fill] : kFills) out.push_back(name);
  for (const auto& [name, colour] : kColours) out.push_back(name);
  std::sort(out.begin(), out.end());
  return out;
}

Remover::Remover(const Supervised& model, const data::Normalization& normalization, const std::string& name)
    : model_(model), normalization_(normalization), name_(name) {
  const auto known = removal_names();
  if (std::find(known.begin(), known.end(), name) == known.end())
    fail("removal '" + name + "'", "unknown", suggest(name, known));
  if (kColours.count(name) && normalization.mean.size() != 3)
    fail("removal '" + name + "'",
         str("is a colour, but pictures have ", normalization.mean.size(), " channels"),
         "use grey, black or average");
  if (!kFills.count(name)) return;
  const auto kind = model.config().encoder.kind();
  const bool drops = name == "token-dropping";
  if (kind != (drops ? nn::EncoderKind::kViT : nn::EncoderKind::kConvNet))
    fail("removal '" + name + "'", str("is not for encoder ", model.config().encoder.arch),
         drops ? "use a plain ViT, or layer-masking for convolutional networks"
               : "use a convolutional network, or token-dropping for a plain ViT");
}

Tensor Remover::paint(const Tensor& image, const Tensor& kept) const {
  const auto colour = [&](const std::function<double(size_t)>& value) {
    std::vector<double> levels;
    for (size_t c = 0; c < normalization_.mean.size(); ++c) levels.push_back(value(c));
    return torch::tensor(levels, torch::kDouble).to(image.options()).view({1, -1, 1, 1});
  };
  Tensor paint = torch::zeros({1, 1, 1, 1}, image.options());  // grey: the data's mean
  if (name_ == "average") paint = image.mean({2, 3}, /*keepdim=*/true);
  if (name_ == "black")
    paint = colour([&](size_t c) { return -normalization_.mean[c] / normalization_.std[c]; });
  if (const auto found = kColours.find(name_); found != kColours.end())
    paint =
        colour([&](size_t c) { return (found->second[c] - normalization_.mean[c]) / normalization_.std[c]; });
  const auto painted = image * kept + paint * (1 - kept);
  return name_ == "smooth-grey" ? image * kept + blurred(painted) * (1 - kept) : painted;
}

Tensor Remover::logits(const Tensor& image, const Tensor& kept) const {
  if (const auto found = kFills.find(name_); found != kFills.end())
    return model_.classifier().logits_of_kept({.x = image, .kept = kept, .fill = found->second});
  return model_.logits(paint(image, kept));
}

Tensor Remover::features(const Tensor& image, const Tensor& kept) const {
  const auto& classifier = model_.classifier();
  if (const auto found = kFills.find(name_); found != kFills.end())
    return classifier.features_of_kept({.x = image, .kept = kept, .fill = found->second});
  return classifier.features(paint(image, kept), nullptr);
}

const Supervised& classifier_of(const Model& model, const std::string& what) {
  const auto* classifier = dynamic_cast<const Supervised*>(model.method.get());
  if (!classifier)
    fail(what, str("explains a classifier, ", model.origin, " is none"),
         "train one: `lacuna eval finetune RUN` or `lacuna pretrain supervised`");
  return *classifier;
}

void ExplainConfig::fields(Fields& f) {
  auto removals = removal_names();
  f("removal", removal, "how parts are removed while a picture is explained").choices(removals);
  f("compare", compare, "removal, lime: ways to remove that are compared").choices(removals);
  f("segments", segments, "what is removed as a whole: square cells, or superpixels")
      .choices({"grid", "slic", "quickshift"});
  f("segment_size", segment_size, "side of a cell in pixels; slic: of a square of the mean area").range(1);
  f("compactness", compactness, "slic: weight of nearness against likeness of colour").range(1e-3);
  f("kernel_size", kernel_size, "quickshift: pixels over which density is smoothed").range(1);
  f("max_dist", max_dist, "quickshift: the longest step that joins two pixels").range(0);
  f("ratio", ratio, "quickshift: weight of colour against place").range(0, 1);
  f("order", order, "removal: segments at random, the most or the least salient first")
      .choices({"random", "salient", "least-salient"});
  f("degrees", degrees, "removal: shares of the segments that are removed; begins with 0").range(0, 1);
  f("samples", samples, "lime: pictures with random segments removed").range(2);
  f("kernel_width", kernel_width, "lime: how fast weights fall with the cosine distance").range(1e-3);
  f("num_features", num_features, "lime: segments that get a score; up to 6 are chosen one by one").range(1);
  f("target", target, "class that is explained").choices({"predicted", "label"});
  f("parts", parts, "linearity: segments that are kept, one at a time and together").range(2);
  f("objects", objects, "removal: a folder of masks of the objects, KEY.png; empty: random segments");
  f("wordnet", wordnet, "removal: WordNet's folder, for how near wrong answers are; empty: not measured");
  f("synsets", synsets, "removal: WordNet's numbers of the classes; empty: the classes are named so");
  f("top_k", top_k, "lime: best segments that are removed to test the scores").range(1);
}

namespace {

/// [B, H, W] of superpixels, whose numbers are each picture's own.
template <typename Segment>
Tensor segment_each(const Tensor& image, const Segment& one) {
  std::vector<Tensor> out;
  for (const auto& picture : image.unbind(0)) out.push_back(one(picture));
  return torch::stack(out);
}

}  // namespace

Tensor segment(const Tensor& image, const ExplainConfig& config) {
  const Size2 size{image.size(2), image.size(3)};
  const int64_t side = config.segment_size;
  if (config.segments == "grid")
    return mask::grid_segments(size, {side, side}).expand({image.size(0), size.h, size.w});
  if (config.segments == "quickshift") {
    const mask::QuickshiftConfig keys{
        .kernel_size = config.kernel_size, .max_dist = config.max_dist, .ratio = config.ratio};
    return segment_each(image, [&](const Tensor& picture) { return mask::quickshift(picture, keys); });
  }
  const mask::SlicConfig slic{.segments = std::max<int64_t>(1, size.area() / (side * side)),
                              .compactness = config.compactness};
  return segment_each(image, [&](const Tensor& picture) { return mask::slic(picture, slic); });
}

Tensor kept_pixels(const Tensor& segments, const Tensor& on) {
  return on.to(torch::kFloat).gather(1, segments.flatten(1)).view_as(segments).unsqueeze(1);
}

Tensor segment_sums(const Tensor& pixels, const Tensor& segments) {
  const int64_t F = segments.max().item<int64_t>() + 1;
  return torch::zeros({pixels.size(0), F}, pixels.options())
      .scatter_add_(1, segments.flatten(1), pixels.flatten(1));
}

Tensor saliency(const Supervised& model, const Tensor& image, const Tensor& label) {
  const torch::AutoGradMode gradient(true);
  const auto input = image.detach().clone().set_requires_grad(true);
  const auto score = model.logits(input).gather(1, label.unsqueeze(1)).sum();
  return std::get<0>(torch::autograd::grad({score}, {input})[0].abs().max(1)).detach();
}

}  // namespace lacuna::eval
