#pragma once
// Dialogues as rows of tokens for fine-tuning (MEAP, arXiv 2502.07490; scitix/MEAP, MEAP-SFT.py,
// preprocess_function).

#include <cstdint>
#include <functional>
#include <vector>

namespace lacuna::data {

/// A prompt and its answer, without begin and end.
struct Exchange {
  std::vector<int32_t> prompt, answer;
};

struct DialogueRules {
  int64_t max_length = 4096;
  int64_t min_answer = 51;  ///< shorter answers get no masked copy
  double ratio = 0.1;       ///< of an answer's tokens
  int32_t begin_id = 1, end_id = 2, mask_id = 32000;
  bool add_begin = true;  ///< in front of the first prompt
};

/// One row: tokens, and what is to be said at each; -1: nothing.
struct DialogueRow {
  std::vector<int32_t> tokens, labels;
};

/// `count` different positions of [begin, end).
using ChoosePositions = std::function<std::vector<int64_t>(int64_t begin, int64_t end, int64_t count)>;

/// The rows of a dialogue, plain ones of all exchanges first, then masked ones; rows without a label are left
/// out. Kept quirks: each exchange stands alone; a plain row that is cut ends in `end_id`, but its last label
/// is the token of the answer that stood there.
std::vector<DialogueRow> dialogue_rows(const std::vector<Exchange>& exchanges, const DialogueRules& rules,
                                       const ChoosePositions& choose);

}  // namespace lacuna::data
