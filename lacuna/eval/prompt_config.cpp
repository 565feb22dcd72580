#include "lacuna/eval/prompt_config.h"

namespace lacuna::eval {

void PromptConfig::fields(Fields& f) {
  f("templates", templates, "zeroshot: texts of a class, {} stands for its name");
  f("mean", mean,
    "zeroshot: over templates, of normalised features (OpenAI's notebook) or of the features as they are "
    "(R-AMT)")
      .choices({"normalized", "features"});
  f("linear", linear, "zeroshot: also score a linear probe on the same features, trained on --data");
}

void FewshotConfig::fields(Fields& f) {
  f("shots", shots, "fewshot: pictures of each class that are learnt from").range(1);
  f("seeds", seeds, "fewshot: each draws other pictures").range(0);
  f("tune", tune,
    "fewshot: what is compared: masks with gradient dropout and without, a linear probe on the text "
    "features, "
    "full fine-tuning of the image tower")
      .choices({"r-amt", "amt", "head", "tower"});
  f("train", train, "fewshot: classes that are learnt from; base: base-to-new generalisation")
      .choices({"all", "base", "new"});
  f("head_lr", head_lr, "fewshot: rate of the linear probe").range(0);
  f("tower_lr", tower_lr, "fewshot: rate of full fine-tuning").range(0);
}

}  // namespace lacuna::eval
