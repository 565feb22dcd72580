#pragma once
// From scores of frames to tokens, and how far those are from what was said.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace lacuna::eval {

using TokenList = std::vector<int64_t>;

/// The best class of each frame, repeats merged, blanks (class 0) taken out; token i is class i + 1.
/// log_probs [T, 1 + V] float32.
TokenList greedy_ctc(const at::Tensor& log_probs);
/// The most probable token list, summed over its alignments, among the `beam` best prefixes kept at each
/// frame (Hannun et al., "First-Pass Large Vocabulary Continuous Speech Recognition using Bi-Directional
/// Recurrent DNNs", 2014, algorithm 1 without a language model). log_probs [T, 1 + V] float32.
TokenList beam_ctc(const at::Tensor& log_probs, int64_t beam);

/// Levenshtein's distance of `hypothesis` to `reference`, and what it is made of on a shortest path.
struct Edits {
  int64_t substitutions = 0, deletions = 0, insertions = 0;
  int64_t reference = 0;  ///< tokens of the reference
  int64_t distance() const { return substitutions + deletions + insertions; }
  /// distance() / reference; of nothing said, 0 when nothing was heard, else 1.
  double rate() const;
  Edits& operator+=(const Edits& other);
};
Edits edit_distance(const TokenList& reference, const TokenList& hypothesis);

}  // namespace lacuna::eval
