// Search both ways: the texts of a picture, the picture of a text (Radford et al., ICML 2021, table 13).

#include <algorithm>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/eval/clip_model.h"
#include "lacuna/train/class_texts.h"

namespace lacuna::eval {

namespace {

const std::vector<int64_t> kRecallAt{1, 5, 10};
constexpr int64_t kTextBatch = 256;

/// Place of the best right candidate of each row, from 0. right [R, C] bool, at least one in each row.
Tensor first_right(const Tensor& similarity, const Tensor& right) {
  const auto order = similarity.argsort(/*stable=*/true, 1, /*descending=*/true);
  return right.gather(1, order).to(torch::kInt).argmax(1);
}

void add(Json& metrics, const std::string& way, const Tensor& place, int64_t candidates,
         const std::vector<int64_t>& ks) {
  for (const int64_t k : ks)
    if (k < candidates) metrics[str(way, "_r", k)] = place.lt(k).to(torch::kDouble).mean().item<double>();
  metrics[way + "_median_rank"] = place.to(torch::kDouble).add(1).median().item<double>();
}

/// A test set's texts, in order, and the picture that each belongs to, by its place among those read.
struct Texts {
  std::vector<std::string> texts;
  std::vector<int64_t> owner;
};

Texts texts_of(const data::Dataset& dataset) {
  Texts out;
  for (int64_t i = 0; i < dataset.size(); ++i)
    for (const auto& text : dataset.get(i).captions) {
      out.texts.push_back(text);
      out.owner.push_back(i);
    }
  if (out.texts.empty())
    fail(str("--test ", dataset.uri()), "its pictures have no captions to search",
         "give pairs: captions:FILE, or shards with KEY.txt");
  return out;
}

Tensor text_features(const Clip& clip, const data::CaptionEncoder& encoder,
                     const std::vector<std::string>& texts) {
  const torch::NoGradGuard no_grad;
  std::vector<Tensor> out;
  for (size_t i = 0; i < texts.size(); i += kTextBatch) {
    const auto end = std::min(texts.size(), i + kTextBatch);
    const auto tokens = encoder.encode(std::vector<std::string>(texts.begin() + static_cast<int64_t>(i),
                                                                texts.begin() + static_cast<int64_t>(end)));
    out.push_back(clip.text_features(tokens.to(clip.scale().device())).to(torch::kFloat).cpu());
  }
  return torch::cat(out);
}

Result run(const Request& request) {
  const auto& clip = clip_of(request.model, "retrieval");
  const auto images = extract_features(request.model, request.test, request.config);
  if (images.size() != request.test->size())
    fail(request.test->uri(), str(request.test->size() - images.size(), " of its pictures can't be read"),
         "see `lacuna inspect`; each caption needs its picture");
  const auto found = texts_of(*request.test);
  const auto texts = text_features(clip, train::caption_encoder(*request.model.config), found.texts);
  const auto similarity = nn::unit_rows(images.features).mm(nn::unit_rows(texts).t());
  Result result;
  result.metrics = retrieval_metrics(similarity, torch::tensor(found.owner), kRecallAt);
  result.metrics["chance"] = 1.0 / static_cast<double>(images.size());  // of text_to_image_r1
  result.settings = {{"pictures", images.size()}, {"texts", std::ssize(found.texts)}};
  return result;
}

const Register<Protocol> registered{
    "retrieval",
    {.summary = "CLIP: recall at 1, 5, 10 of captions by picture and of pictures by caption",
     .run = run,
     .labels = false}};

}  // namespace

Json retrieval_metrics(const Tensor& similarity, const Tensor& owner, const std::vector<int64_t>& ks) {
  const auto pictures = torch::arange(similarity.size(0)).unsqueeze(1);
  const auto right = owner.unsqueeze(0).eq(pictures);   // [N, M]
  const auto asked = right.any(1).nonzero().flatten();  // a picture without a text is no question
  Json out;
  add(out, "image_to_text", first_right(similarity.index_select(0, asked), right.index_select(0, asked)),
      similarity.size(1), ks);
  add(out, "text_to_image", first_right(similarity.t(), right.t()), similarity.size(0), ks);
  return out;
}

}  // namespace lacuna::eval
