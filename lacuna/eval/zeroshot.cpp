// Classification without training: pictures beside the text features of the classes (Radford et al., ICML
// 2021, section 3.1).

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/eval/clip_model.h"
#include "lacuna/eval/linear.h"
#include "lacuna/train/class_texts.h"
#include "lacuna/train/health.h"

namespace lacuna::eval {

const Clip& clip_of(const Model& model, const std::string& protocol) {
  const auto* clip = dynamic_cast<const Clip*>(model.method.get());
  if (!clip)
    fail(str("eval ", protocol),
         str(model.origin, " are weights of ", model.config->method, ", without texts"),
         "give a run of clip, or weights under OpenAI's or transformers' names");
  return *clip;
}

namespace {

Result run(const Request& request) {
  const auto& clip = clip_of(request.model, "zeroshot");
  const auto& prompt = request.config.prompt;
  auto test = labelled_features(request.model, request.test, request.config, "--test");
  const auto classes = request.test->classes();
  const auto texts = train::class_text_features(clip, train::caption_encoder(*request.model.config), classes,
                                                prompt.templates, prompt.mean == "normalized")
                         .cpu();
  const auto logits = nn::unit_rows(test.features).mm(texts.t());
  Result result;
  result.metrics["top1"] = train::top_k_accuracy(logits, test.labels, 1);
  if (std::ssize(classes) > 5) result.metrics["top5"] = train::top_k_accuracy(logits, test.labels, 5);
  double sum = 0;
  int64_t there = 0;
  for (int64_t c = 0; c < std::ssize(classes); ++c) {
    const auto rows = test.labels.eq(c).nonzero().flatten();
    if (rows.numel() == 0) continue;
    sum += train::top_k_accuracy(logits.index_select(0, rows), test.labels.index_select(0, rows), 1);
    ++there;
  }
  result.metrics["mean_class_top1"] = sum / static_cast<double>(there);
  result.metrics["chance"] = majority_share(test.labels);
  if (prompt.linear) {
    const auto features = labelled_features(request.model, request.train, request.config, "--data");
    result.metrics["linear_top1"] = linear_probe(features, test, request.config).metrics.at("top1");
  }
  result.settings = {{"templates", prompt.templates},
                     {"mean", prompt.mean},
                     {"classes", classes},
                     {"test_size", test.size()}};
  return result;
}

const Register<Protocol> registered{
    "zeroshot",
    {.summary = "CLIP: classes by the text features of prompts (prompt.*); nothing is trained",
     .run = run,
     .several_processes = true}};

}  // namespace
}  // namespace lacuna::eval
