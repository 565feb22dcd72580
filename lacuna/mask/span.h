#pragma once
// Spans of frames (wav2vec 2.0 and HuBERT: fairseq, data_utils.compute_mask_indices).

#include <ATen/core/Tensor.h>

#include <string>

#include "lacuna/core/config.h"
#include "lacuna/core/draws.h"

namespace lacuna::mask {

/// Keys `mask.*`, and `channel_mask.*` of masks over channels.
struct SpanConfig {
  double prob = 0.8;  ///< spans * length over the number of frames, before they overlap; 0: no mask
  int64_t length = 10;
  std::string selection = "static";  ///< of spans' lengths: static | uniform | normal | poisson
  double other = 0;  ///< uniform: the shortest (the longest is 2 * length); normal: the deviation
  int64_t min_spans = 2;
  bool no_overlap = false;
  int64_t min_space = 1;     ///< no_overlap: frames between two spans at least
  bool require_same = true;  ///< every row hides as many frames as the row that hides fewest
  void fields(Fields& f);
};

/// What is random about a batch of masks.
struct SpanDraws {
  at::Tensor u;             ///< [B]: rounds the number of spans up or down
  at::Tensor starts;        ///< [B, S] int64: first frames of the spans; -1 fills
  at::Tensor keep;          ///< [B, K] int64: what remains of rows that hide too many; rows of -1 stay
  at::Tensor lengths = {};  ///< [B, S] int64: frames of each span; undefined: SpanConfig::length
};

/// Spans of a row of `frames` frames, given its draw.
int64_t span_count(const SpanConfig& config, int64_t frames, double u);
/// Smallest k whose probability to be reached or fallen short of, under Poisson(mean), exceeds u in [0, 1).
int64_t poisson_quantile(double mean, double u);

/// The draws of a batch, in the official order for each row: u, lengths, then starts; `keep` last. `length`
/// [B] int64: valid frames of each row, of `frames` in all. A row that would be hidden as a whole loses its
/// last spans (fairseq stops there); a row of one frame hides nothing. Row b depends on its own sample alone,
/// but for the number of frames that require_same leaves it.
SpanDraws draw_spans(const SpanConfig& config, const at::Tensor& length, int64_t frames, Draws& draws,
                     const std::string& name = "mask");

/// [B, frames] bool, true = hidden.
at::Tensor span_mask(const SpanConfig& config, const at::Tensor& length, int64_t frames,
                     const SpanDraws& drawn);
/// Both: a mask as drawn.
at::Tensor drawn_mask(const SpanConfig& config, const at::Tensor& length, int64_t frames, Draws& draws,
                      const std::string& name = "mask");

}  // namespace lacuna::mask
