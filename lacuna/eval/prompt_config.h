#pragma once
// Keys of the protocols that ask a text tower, and of few-shot tuning.

#include <string>
#include <vector>

#include "lacuna/core/config.h"

namespace lacuna::eval {

/// Keys `prompt.*`: zeroshot.
struct PromptConfig {
  std::vector<std::string> templates{"a photo of a {}."};
  std::string mean = "normalized";  ///< normalized | features: train::class_text_features
  bool linear = false;              ///< a linear probe beside it
  void fields(Fields& f);
};

/// Keys `fewshot.*`.
struct FewshotConfig {
  std::vector<int64_t> shots{1, 2, 4, 8, 16}, seeds{1, 2, 3};
  std::vector<std::string> tune{"r-amt", "amt", "head", "tower"};
  std::string train = "all";  ///< classes that are learnt from: all | base | new
  double head_lr = 1e-2, tower_lr = 1e-4;
  void fields(Fields& f);
};

}  // namespace lacuna::eval
