// Pictures with texts: the keys of pictures, and caption.*.

#include <algorithm>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/captions.h"
#include "lacuna/train/caption.h"
#include "lacuna/train/modality.h"
#include "lacuna/train/picture.h"

namespace lacuna::train {
namespace {

/// The picture half: its keys, statistics and transforms.
const Modality& pictures() { return *Registry<ModalityEntry>::instance().get("image").modality; }

class CaptionedPictures final : public Modality {
 public:
  std::string items() const override { return "pictures with texts"; }
  std::string default_data() const override { return "synthetic:scenes"; }

  void add_keys(RunConfig& config) const override {
    pictures().add_keys(config);
    config.table.add("caption", config.caption);
  }
  void resolve(RunConfig& config) const override { pictures().resolve(config); }

  std::shared_ptr<data::Dataset> settle(RunConfig& config,
                                        std::shared_ptr<data::Dataset> dataset) const override {
    dataset =
        data::with_class_captions(pictures().settle(config, std::move(dataset)), config.caption.templates);
    if (!has_texts(*dataset))
      fail(config.data.uri, "its pictures have neither captions nor classes",
           "give pairs (captions:FILE, shards with KEY.txt) or labelled pictures");
    const auto known = vocabulary(config);
    const data::CaptionEncoder encoder(config.caption.tokenizer, context(config));
    if (known == 0) config.table.set("text.vocab_size", encoder.vocab_size(), "the tokenizer");
    if (known > 0 && encoder.vocab_size() > known)
      fail(str("text.vocab_size ", known),
           str("is less than the tokenizer's ", encoder.vocab_size(), " tokens"),
           "leave it out, or give the weights' own caption.tokenizer");
    return dataset;
  }

  std::shared_ptr<data::Dataset> dress(const RunConfig& config,
                                       std::shared_ptr<data::Dataset> dataset) const override {
    return data::with_class_captions(std::move(dataset), config.caption.templates);
  }

  void require_settled(const RunConfig& config, const std::string& origin) const override {
    pictures().require_settled(config, origin);
    if (vocabulary(config) == 0)
      fail(str(origin, ": text.vocab_size"), "is not known", "give it: --set text.vocab_size=49408");
  }

  std::shared_ptr<const data::Transform> transform(const RunConfig& config,
                                                   const InputSpec& input) const override {
    return data::with_captions(
        pictures().transform(config, input), config.caption,
        std::make_shared<const data::CaptionEncoder>(config.caption.tokenizer, input.tokens));
  }

  Batch noise(const RunConfig& config, const InputSpec& input, int64_t samples, Draws& draws) const override {
    Batch batch = pictures().noise(config, input, samples, draws);
    const auto last = vocabulary(config) - 1;
    const auto u = draws.uniform("text", {samples, input.tokens});
    batch.tokens = (u * static_cast<double>(last)).to(torch::kLong);
    batch.tokens.select(1, -1).fill_(last);
    return batch;
  }

  Tensor panel(const Preview& preview, const RunConfig& config) const override;

  std::optional<Skill> skill(const Preview& preview) const override {
    if (!preview.explained) return std::nullopt;
    return Skill{*preview.explained, *preview.explained};
  }

 private:
  static int64_t vocabulary(const RunConfig& config) {
    return config.table.get("text.vocab_size").get<int64_t>();
  }
  static int64_t context(const RunConfig& config) {
    return config.table.get("text.context_length").get<int64_t>();
  }
  /// A record with a text among the first few.
  static bool has_texts(const data::Dataset& dataset) {
    constexpr int64_t kLooked = 16;
    for (int64_t i = 0; i < std::min(kLooked, dataset.size()); ++i)
      if (!dataset.get(i).captions.empty()) return true;
    return false;
  }
};

/// Rows: pictures, each with its text; columns: the texts in the same order. A cell is red where picture and
/// text are alike, blue where they are not; the diagonal should be the reddest of its row.
Tensor CaptionedPictures::panel(const Preview& preview, const RunConfig& config) const {
  constexpr int64_t kSide = 72, kGap = 8, kScale = 1;
  constexpr size_t kShown = 44;
  constexpr uint8_t kInk = 40;
  const int64_t B = preview.image.size(0), C = preview.image.size(1);
  const auto scaled = [&](const std::vector<double>& values) {
    return torch::tensor(values, torch::kFloat).view({1, C, 1, 1});
  };
  auto image = (preview.image.cpu() * scaled(config.data.std) + scaled(config.data.mean)).clamp(0, 1);
  image = C == 3 ? image : image.slice(1, 0, 1).expand({B, 3, image.size(2), image.size(3)});
  image =
      at::upsample_bilinear2d(image, {kSide, kSide}, false).permute({0, 2, 3, 1}).mul(255).to(torch::kByte);
  const int64_t words = text_width(std::string(kShown, 'x'), kScale), left = kSide + 2 * kGap + words;
  auto canvas = torch::full(
      {2 * kGap + kGlyphHeight + B * (kSide + kGap), left + B * (kSide + kGap) + kGap, 3}, 255, torch::kByte);
  draw_text(canvas, "picture and its text - similarity to each text - red high", kGap / 2, kGap, kScale,
            kInk);
  const data::CaptionEncoder encoder(config.caption.tokenizer, context(config));
  const auto low = preview.similarity.min(), high = preview.similarity.max();
  const auto t = (preview.similarity - low) / (high - low).clamp_min(1e-6);
  for (int64_t row = 0; row < B; ++row) {
    const int64_t top = kGap + kGlyphHeight + kGap / 2 + row * (kSide + kGap);
    canvas.narrow(0, top, kSide).narrow(1, kGap, kSide).copy_(image[row]);
    const auto text = drawable(encoder.decode(preview.tokens[row]));
    draw_text(canvas, text.substr(0, kShown), top + (kSide - kGlyphHeight) / 2, kSide + 2 * kGap, kScale,
              kInk);
    for (int64_t column = 0; column < B; ++column) {
      const double v = t[row][column].item<double>();
      const auto colour =
          torch::tensor({std::min(1.0, 2 * v), 1 - std::abs(2 * v - 1), std::min(1.0, 2 - 2 * v)})
              .mul(255)
              .to(torch::kByte);
      auto cell = canvas.narrow(0, top, kSide).narrow(1, left + column * (kSide + kGap), kSide);
      cell.copy_(colour.view({1, 1, 3}).expand_as(cell));
      const auto number = str(std::lround(100 * preview.similarity[row][column].item<double>()));
      draw_text(cell, number, (kSide - kGlyphHeight) / 2, kGap, kScale, kInk);
    }
  }
  return canvas;
}

const Register<ModalityEntry> registered{"captioned", {std::make_shared<CaptionedPictures>()}};

}  // namespace
}  // namespace lacuna::train
