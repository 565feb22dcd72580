#include "lacuna/train/class_texts.h"

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna::train {

data::CaptionEncoder caption_encoder(const RunConfig& config) {
  return data::CaptionEncoder(config.caption.tokenizer,
                              config.table.get("text.context_length").get<int64_t>());
}

Tensor class_text_features(const Clip& clip, const data::CaptionEncoder& encoder,
                           const std::vector<std::string>& classes, const std::vector<std::string>& templates,
                           bool normalize_each) {
  const torch::NoGradGuard no_grad;
  if (templates.empty())
    fail("templates", "there is none to put a class into", "give one, e.g. \"a photo of a {}.\"");
  const auto device = clip.scale().device();
  std::vector<Tensor> out;
  for (const auto& name : classes) {
    std::vector<std::string> texts;
    for (const auto& pattern : templates)
      texts.push_back(data::fill_template(pattern, data::spoken_class(name)));
    auto features = clip.text_features(encoder.encode(texts).to(device)).to(torch::kFloat);
    if (normalize_each) features = nn::unit_rows(features);
    out.push_back(nn::unit_rows(features.mean(0)));
  }
  return torch::stack(out);
}

}  // namespace lacuna::train
