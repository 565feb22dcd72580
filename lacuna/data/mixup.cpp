#include "lacuna/data/mixup.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "lacuna/core/error.h"
#include "lacuna/data/dataset.h"

namespace lacuna::data {

namespace {

/// log of a Gamma(shape, 1) variate: Marsaglia & Tsang, "A simple method for generating gamma variables", ACM
/// TOMS 2000. The logarithm, because for small shapes the variate itself underflows.
double draw_log_gamma(double shape, Stream& random) {
  if (shape < 1) return draw_log_gamma(shape + 1, random) + std::log1p(-random.uniform()) / shape;
  const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  for (;;) {
    const double x = random.normal(), root = 1 + c * x;
    if (root <= 0) continue;
    const double v = root * root * root;
    if (std::log1p(-random.uniform()) < 0.5 * x * x + d * (1 - v + std::log(v))) return std::log(d * v);
  }
}

/// Share of the picture outside the box.
double share_outside(const io::Rect& box, Size2 image) {
  return 1 - static_cast<double>(box.height * box.width) / static_cast<double>(image.area());
}

Blend minmax_blend(Size2 image, const std::vector<double>& minmax, Stream& random) {
  const auto side = [&](int64_t length) {
    const auto low = static_cast<int64_t>(static_cast<double>(length) * minmax[0]);
    const auto high = static_cast<int64_t>(static_cast<double>(length) * minmax[1]);
    return low + random.below(std::max<int64_t>(high - low, 1));
  };
  io::Rect box;
  box.height = side(image.h);
  box.width = side(image.w);
  box.top = random.below(image.h - box.height);
  box.left = random.below(image.w - box.width);
  return {share_outside(box, image), box};
}

/// [rows, 1, ...]: a weight of each blend, ready to multiply a tensor of `dims` dimensions.
template <class Weight>
at::Tensor column(const std::vector<Blend>& blends, int64_t dims, at::Device device, Weight weight) {
  std::vector<float> values;
  for (const Blend& blend : blends) values.push_back(static_cast<float>(weight(blend)));
  std::vector<int64_t> shape(static_cast<size_t>(dims), 1);
  shape[0] = std::ssize(values);
  return at::tensor(values, at::kFloat).to(device).view(shape);
}

at::Tensor mix_pixels(const at::Tensor& image, const std::vector<Blend>& blends) {
  const auto partner = image.flip(0);
  const bool fades = std::any_of(blends.begin(), blends.end(),
                                 [](const Blend& blend) { return !blend.box && blend.lam < 1; });
  const auto own = [](const Blend& blend) { return blend.box ? 1.0 : blend.lam; };
  auto out = fades
                 ? image * column(blends, 4, image.device(), own) +
                       partner * column(blends, 4, image.device(), [&](const Blend& b) { return 1 - own(b); })
                 : image.clone();
  const int64_t rows = blends.size() == 1 ? image.size(0) : 1;
  for (size_t i = 0; i < blends.size(); ++i) {
    if (!blends[i].box || blends[i].lam == 1) continue;
    const auto cut = [&, box = *blends[i].box](const at::Tensor& all) {
      return all.narrow(0, static_cast<int64_t>(i), rows)
          .narrow(2, box.top, box.height)
          .narrow(3, box.left, box.width);
    };
    cut(out).copy_(cut(partner));
  }
  return out;
}

}  // namespace

void MixupConfig::fields(Fields& f) {
  f("mixup_alpha", mixup_alpha,
    "mixup: lam ~ Beta(alpha, alpha) of a picture and the rest of its partner; 0: off")
      .range(0, 1e6);
  f("cutmix_alpha", cutmix_alpha,
    "cutmix: a box of area 1 - lam, lam ~ Beta(alpha, alpha), is the partner's; 0: off")
      .range(0, 1e6);
  f("cutmix_minmax", cutmix_minmax,
    "cutmix: sides of the box as shares of the picture's, smallest and largest, in place of alpha; empty: "
    "alpha")
      .range(0, 1);
  f("prob", prob, "share of the batches (mode elem, pair: of the pictures) that are mixed").range(0, 1);
  f("switch_prob", switch_prob, "share of cutmix where both are on").range(0, 1);
  f("mode", mode, "one lam for the batch, for each pair of partners or for each picture")
      .choices({"batch", "pair", "elem"});
  f("label_smoothing", label_smoothing, "share of a target that is spread evenly over the classes")
      .range(0, 1);
}

double draw_beta(double a, double b, Stream& random) {
  const double x = draw_log_gamma(a, random), y = draw_log_gamma(b, random);
  return 1 / (1 + std::exp(y - x));
}

Blend cutmix_blend(Size2 image, double lam, int64_t cy, int64_t cx) {
  LACUNA_ASSERT(lam >= 0 && lam <= 1 && cy >= 0 && cy < image.h && cx >= 0 && cx < image.w);
  const double ratio = std::sqrt(1 - lam);
  // First pixel and length of the part of [centre - side/2, centre + side/2) that lies in the picture.
  const auto part = [&](int64_t length, int64_t centre) {
    const int64_t half = static_cast<int64_t>(static_cast<double>(length) * ratio) / 2;
    const int64_t first = std::max<int64_t>(centre - half, 0);
    return std::pair{first, std::min(centre + half, length) - first};
  };
  const auto [top, height] = part(image.h, cy);
  const auto [left, width] = part(image.w, cx);
  const io::Rect box{top, left, height, width};
  return {share_outside(box, image), box};
}

Mixed mix(const at::Tensor& image, const at::Tensor& label, int64_t classes, double label_smoothing,
          const std::vector<Blend>& blends) {
  LACUNA_ASSERT(image.dim() == 4 && label.dim() == 1 && label.size(0) == image.size(0));
  LACUNA_ASSERT(blends.size() == 1 || std::ssize(blends) == image.size(0));
  const auto device = image.device();
  const double off = label_smoothing / static_cast<double>(classes), on = 1 - label_smoothing + off;
  const auto target = at::full({label.size(0), classes}, off, image.options().dtype(at::kFloat))
                          .scatter_(1, label.to(device).unsqueeze(1), on);
  const auto own = column(blends, 2, device, [](const Blend& blend) { return blend.lam; });
  const auto rest = column(blends, 2, device, [](const Blend& blend) { return 1 - blend.lam; });
  return {mix_pixels(image, blends), target * own + target.flip(0) * rest};
}

void require_labels(const Batch& batch, int64_t classes) {
  const auto labels = batch.label.to(at::kCPU, at::kLong).contiguous();
  const auto* label = labels.const_data_ptr<int64_t>();
  for (int64_t row = 0; row < labels.numel(); ++row) {
    if (label[row] >= 0 && label[row] < classes) continue;
    const auto& key = batch.key;
    const std::string name =
        row < std::ssize(key) ? key[static_cast<size_t>(row)] : str("row ", row, " of the batch");
    if (label[row] == kNoLabel)
      fail(name, "has no label", "leave it out, or use data whose records all have one");
    fail(name, str("has label ", label[row], ", but there are ", classes, " classes"),
         "use data with the classes that the head was made for");
  }
}

Mixup::Mixup(MixupConfig config, int64_t classes) : config_(std::move(config)), classes_(classes) {
  LACUNA_ASSERT(classes_ > 0);
  const auto& sides = config_.cutmix_minmax;
  if (!sides.empty() && (sides.size() != 2 || sides[0] > sides[1] || sides[0] >= 1))
    fail("cutmix_minmax", "is not a range", "give two shares below 1, the smaller first, or leave it empty");
}

Blend Mixup::draw_one(Size2 image, Stream& random) const {
  const bool boxes = config_.cutmix_alpha > 0 || !config_.cutmix_minmax.empty();
  if (!config_.mixes() || random.uniform() >= config_.prob) return {};
  const bool cutmix = boxes && (config_.mixup_alpha == 0 || random.uniform() < config_.switch_prob);
  if (cutmix && !config_.cutmix_minmax.empty()) return minmax_blend(image, config_.cutmix_minmax, random);
  const double alpha = cutmix ? config_.cutmix_alpha : config_.mixup_alpha;
  const double lam = draw_beta(alpha, alpha, random);
  if (!cutmix) return {lam, std::nullopt};
  const int64_t cy = random.below(image.h);
  return cutmix_blend(image, lam, cy, random.below(image.w));
}

std::vector<Blend> Mixup::draw(int64_t rows, Size2 image, Stream& random) const {
  if (config_.mode == "batch") return {draw_one(image, random)};
  std::vector<Blend> blends(static_cast<size_t>(rows));
  const bool pairs = config_.mode == "pair";
  for (int64_t i = 0; i < (pairs ? rows / 2 : rows); ++i) {
    blends[static_cast<size_t>(i)] = draw_one(image, random);
    if (pairs) blends[static_cast<size_t>(rows - 1 - i)] = blends[static_cast<size_t>(i)];
  }
  return blends;
}

Mixed Mixup::operator()(const Batch& batch, Stream random) const {
  require_labels(batch, classes_);
  const auto& image = batch.image;
  const auto blends = draw(image.size(0), {image.size(2), image.size(3)}, random);
  return mix(image, batch.label, classes_, config_.label_smoothing, blends);
}

}  // namespace lacuna::data
