#pragma once
// Keys of the protocols that read texts.

#include <string>
#include <vector>

#include "lacuna/core/config.h"

namespace lacuna::eval {

/// Keys `lm.*`: perplexity, minimal pairs, needles, questions over documents, attention.
struct TextEvalConfig {
  int64_t stride = 0;            ///< perplexity: tokens that a window moves on; 0: its whole length
  std::vector<int64_t> lengths;  ///< needle: tokens of a text; empty: a quarter, a half, all of the context
  std::vector<double> depths{0, 0.25, 0.5, 0.75, 1};
  int64_t trials = 20;        ///< of each length and depth, of each position
  int64_t answer_digits = 3;  ///< of a needle's code
  int64_t documents = 5;      ///< multi-document questions
  void fields(Fields& f);
};

}  // namespace lacuna::eval
