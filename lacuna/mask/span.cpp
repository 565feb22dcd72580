#include "lacuna/mask/span.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

#include "lacuna/core/error.h"

namespace lacuna::mask {

namespace {

using Rows = std::vector<std::vector<int64_t>>;

/// The `count` places of the smallest keys.
std::vector<int64_t> smallest(const float* keys, int64_t size, int64_t count) {
  std::vector<int64_t> order(static_cast<size_t>(size));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return keys[a] < keys[b]; });
  order.resize(static_cast<size_t>(std::min(count, size)));
  return order;
}

int64_t covered(const std::vector<int64_t>& starts, int64_t length, int64_t frames) {
  std::vector<char> hidden(static_cast<size_t>(frames));
  for (const int64_t start : starts)
    for (int64_t t = start; t < std::min(start + length, frames); ++t) hidden[static_cast<size_t>(t)] = 1;
  return std::count(hidden.begin(), hidden.end(), 1);
}

at::Tensor filled(const Rows& rows) {
  size_t width = 0;
  for (const auto& row : rows) width = std::max(width, row.size());
  auto out = at::full({std::ssize(rows), static_cast<int64_t>(width)}, -1, at::kLong);
  for (size_t b = 0; b < rows.size(); ++b)
    std::copy(rows[b].begin(), rows[b].end(), out.data_ptr<int64_t>() + b * width);
  return out;
}

/// Spans as drawn, before rows are made alike. [B, frames] bool.
at::Tensor hidden_by(const at::Tensor& starts, const at::Tensor& length, int64_t span, int64_t frames) {
  const int64_t B = length.size(0), S = starts.size(1);
  auto out = at::zeros({B, frames}, at::kBool);
  for (int64_t b = 0; b < B; ++b)
    for (int64_t s = 0; s < S; ++s) {
      const int64_t start = starts.const_data_ptr<int64_t>()[b * S + s];
      if (start < 0) continue;
      const int64_t end = std::min(start + span, length.const_data_ptr<int64_t>()[b]);
      for (int64_t t = start; t < end; ++t) out.data_ptr<bool>()[b * frames + t] = true;
    }
  return out;
}

}  // namespace

void SpanConfig::fields(Fields& f) {
  f("prob", prob, "hidden frames over all frames, before spans overlap").range(0, 1);
  f("length", length, "frames of a span").range(1);
  f("min_spans", min_spans, "spans of a row at least").range(0);
  f("require_same", require_same, "all rows of a batch hide as many frames as the one that hides fewest");
}

int64_t span_count(const SpanConfig& config, int64_t frames, double u) {
  const double wanted = config.prob * static_cast<double>(frames) / static_cast<double>(config.length) + u;
  return std::max(config.min_spans, static_cast<int64_t>(wanted));
}

SpanDraws draw_spans(const SpanConfig& config, const at::Tensor& length, int64_t frames, Draws& draws,
                     const std::string& name) {
  const int64_t B = length.size(0);
  SpanDraws out;
  out.u = draws.uniform(name + "_u", {B});
  const auto keys = draws.uniform(name + "_starts", {B, frames});
  Rows starts(static_cast<size_t>(B)), keep(static_cast<size_t>(B));
  for (int64_t b = 0; b < B; ++b) {
    const int64_t valid = length[b].item<int64_t>();
    const int64_t count = span_count(config, valid, out.u[b].item<double>());
    // Short rows: as many places as there are spans and one more.
    const int64_t places =
        valid - config.length <= count ? std::min(count + 1, valid) : valid - config.length;
    auto& row = starts[static_cast<size_t>(b)];
    row = smallest(keys.const_data_ptr<float>() + b * frames, places, count);
    while (!row.empty() && covered(row, config.length, valid) >= valid) row.pop_back();
  }
  out.starts = filled(starts);
  out.keep = filled(keep);
  if (!config.require_same) return out;
  const auto hidden = hidden_by(out.starts, length, config.length, frames);
  const auto counts = hidden.sum(1);
  const auto some = counts.masked_select(counts > 0);
  const int64_t fewest = some.numel() > 0 ? some.min().item<int64_t>() : 0;
  const auto choice = draws.uniform(name + "_keep", {B, frames});
  for (int64_t b = 0; b < B; ++b) {
    if (counts[b].item<int64_t>() <= fewest) continue;
    const auto places = hidden[b].nonzero().flatten();
    const auto own = choice[b].index_select(0, places).contiguous();
    for (const int64_t i : smallest(own.const_data_ptr<float>(), own.numel(), fewest))
      keep[static_cast<size_t>(b)].push_back(places[i].item<int64_t>());
  }
  out.keep = filled(keep);
  return out;
}

at::Tensor span_mask(const SpanConfig& config, const at::Tensor& length, int64_t frames,
                     const SpanDraws& drawn) {
  auto out = hidden_by(drawn.starts, length, config.length, frames);
  for (int64_t b = 0; b < out.size(0); ++b) {
    const auto kept = drawn.keep[b].masked_select(drawn.keep[b] >= 0);
    if (kept.numel() == 0) continue;
    out[b].zero_();
    out[b].index_fill_(0, kept, true);
  }
  return out;
}

}  // namespace lacuna::mask
