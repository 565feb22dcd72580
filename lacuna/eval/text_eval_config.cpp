#include "lacuna/eval/text_eval_config.h"

namespace lacuna::eval {

void TextEvalConfig::fields(Fields& f) {
  f("stride", stride, "perplexity: tokens that a window moves on; 0: its whole length").range(0);
  f("lengths", lengths,
    "needle, attention: tokens of a text; empty: a quarter, a half and all of the context")
      .range(16);
  f("depths", depths, "needle: where it stands, 0: at the beginning, 1: at the end").range(0, 1);
  f("trials", trials, "texts for each length and depth, for each position").range(1, 100000);
  f("answer_digits", answer_digits, "needle, documents: digits of the code to be found").range(1, 18);
  f("documents", documents, "documents: how many are in a text, of which one holds the answer")
      .range(1, 1000);
}

}  // namespace lacuna::eval
