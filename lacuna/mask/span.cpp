#include "lacuna/mask/span.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <utility>

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

/// Spans of one row.
struct Row {
  std::vector<int64_t> starts, lengths;

  int64_t covered(int64_t frames) const {
    std::vector<char> hidden(static_cast<size_t>(frames));
    for (size_t s = 0; s < starts.size(); ++s)
      for (int64_t t = starts[s]; t < std::min(starts[s] + lengths[s], frames); ++t)
        hidden[static_cast<size_t>(t)] = 1;
    return std::count(hidden.begin(), hidden.end(), 1);
  }
  void pop() { starts.pop_back(), lengths.pop_back(); }
};

at::Tensor filled(const Rows& rows) {
  size_t width = 0;
  for (const auto& row : rows) width = std::max(width, row.size());
  auto out = at::full({std::ssize(rows), static_cast<int64_t>(width)}, -1, at::kLong);
  for (size_t b = 0; b < rows.size(); ++b)
    std::copy(rows[b].begin(), rows[b].end(), out.data_ptr<int64_t>() + b * width);
  return out;
}

/// Spans as drawn, before rows are made alike. [B, frames] bool.
at::Tensor hidden_by(const SpanConfig& config, const SpanDraws& drawn, const at::Tensor& length,
                     int64_t frames) {
  const int64_t B = length.size(0), S = drawn.starts.size(1);
  auto out = at::zeros({B, frames}, at::kBool);
  const auto* starts = drawn.starts.const_data_ptr<int64_t>();
  const auto* lengths = drawn.lengths.defined() ? drawn.lengths.const_data_ptr<int64_t>() : nullptr;
  for (int64_t b = 0; b < B; ++b)
    for (int64_t s = 0; s < S; ++s) {
      const int64_t start = starts[b * S + s], span = lengths ? lengths[b * S + s] : config.length;
      if (start < 0) continue;
      const int64_t end = std::min(start + span, length.const_data_ptr<int64_t>()[b]);
      for (int64_t t = start; t < end; ++t) out.data_ptr<bool>()[b * frames + t] = true;
    }
  return out;
}

/// Lengths of a row's spans from uniform `u` and normal `z`, one of each a span.
std::vector<int64_t> lengths_of(const SpanConfig& config, int64_t count, int64_t frames, const float* u,
                                const float* z) {
  std::vector<int64_t> out(static_cast<size_t>(count), config.length);
  const auto mean = static_cast<double>(config.length);
  for (size_t s = 0; s < out.size(); ++s) {
    const double shortest = std::floor(config.other);
    if (config.selection == "uniform")
      out[s] = static_cast<int64_t>(shortest + std::floor(u[s] * (2 * mean + 1 - shortest)));
    if (config.selection == "normal")
      out[s] = std::max<int64_t>(1, std::llround(mean + config.other * static_cast<double>(z[s])));
    if (config.selection == "poisson") out[s] = poisson_quantile(mean, u[s]);
  }
  if (!out.empty() && std::accumulate(out.begin(), out.end(), int64_t{0}) == 0)
    out.front() = std::min(config.length, frames - 1);
  return out;
}

/// Spans that neither overlap nor come nearer than min_space, the longest first: each into a free part that
/// is chosen by its length (u), at a uniform place of it (v).
Row apart(const SpanConfig& config, std::vector<int64_t> lengths, int64_t frames, const float* u,
          const float* v) {
  Row row;
  std::sort(lengths.begin(), lengths.end(), std::greater<>());
  const int64_t shortest = lengths.empty() ? 0 : lengths.back();
  std::vector<std::pair<int64_t, int64_t>> parts{{0, frames}};
  for (size_t s = 0; s < lengths.size(); ++s) {
    const int64_t length = lengths[s];
    const auto room = [&](const std::pair<int64_t, int64_t>& part) {
      const int64_t size = part.second - part.first;
      // A place is drawn of size - length, so that as many must be left.
      return size >= length + config.min_space && size > length ? size : 0;
    };
    int64_t all = 0;
    for (const auto& part : parts) all += room(part);
    if (all == 0) break;
    auto wanted = static_cast<int64_t>(static_cast<double>(u[s]) * static_cast<double>(all));
    size_t chosen = 0;
    while (wanted >= room(parts[chosen])) wanted -= room(parts[chosen++]);
    const auto [first, last] = parts[chosen];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(chosen));
    const int64_t start =
        first + static_cast<int64_t>(static_cast<double>(v[s]) * static_cast<double>(last - length - first));
    row.starts.push_back(start), row.lengths.push_back(length);
    if (start - first - config.min_space >= shortest) parts.emplace_back(first, start - config.min_space + 1);
    if (last - start - length - config.min_space > shortest)
      parts.emplace_back(start + length + config.min_space, last);
  }
  return row;
}

/// Spans that may overlap: their starts are the `count` smallest of `keys`.
Row anywhere(std::vector<int64_t> lengths, int64_t frames, const float* keys) {
  const auto count = std::ssize(lengths);
  const int64_t shortest = count > 0 ? *std::min_element(lengths.begin(), lengths.end()) : 0;
  // Short rows: as many places as there are spans and one more.
  const int64_t places = frames - shortest <= count ? std::min(count + 1, frames) : frames - shortest;
  Row row{smallest(keys, places, count), std::move(lengths)};
  row.lengths.resize(row.starts.size());
  return row;
}

}  // namespace

void SpanConfig::fields(Fields& f) {
  f("prob", prob, "hidden frames over all frames, before spans overlap; 0: nothing is hidden").range(0, 1);
  f("length", length, "frames of a span (uniform, normal, poisson: their mean)").range(1);
  f("selection", selection, "how spans get their lengths")
      .choices({"static", "uniform", "normal", "poisson"});
  f("other", other, "uniform: shortest span (the longest is twice `length`); normal: deviation").range(0);
  f("min_spans", min_spans, "spans of a row at least").range(0);
  f("no_overlap", no_overlap, "spans never overlap");
  f("min_space", min_space, "no_overlap: frames between two spans at least").range(0);
  f("require_same", require_same, "all rows of a batch hide as many frames as the one that hides fewest");
}

int64_t span_count(const SpanConfig& config, int64_t frames, double u) {
  const double wanted = config.prob * static_cast<double>(frames) / static_cast<double>(config.length) + u;
  return std::max(config.min_spans, static_cast<int64_t>(wanted));
}

int64_t poisson_quantile(double mean, double u) {
  double probability = std::exp(-mean), reached = probability;
  int64_t k = 0;
  // Beyond 10 deviations nothing is left but rounding.
  const double last = mean + 10 * std::sqrt(mean) + 10;
  while (reached <= u && static_cast<double>(k) < last) {
    ++k;
    probability *= mean / static_cast<double>(k);
    reached += probability;
  }
  return k;
}

SpanDraws draw_spans(const SpanConfig& config, const at::Tensor& length, int64_t frames, Draws& draws,
                     const std::string& name) {
  const int64_t B = length.size(0), most = span_count(config, frames, 1);
  SpanDraws out;
  out.u = draws.uniform(name + "_u", {B});
  const bool varied = config.selection != "static";
  const auto choice = [&](bool wanted, const char* what, int64_t width) {
    return wanted ? draws.uniform(name + what, {B, width}) : at::zeros({B, width});
  };
  const auto spans = choice(varied, "_lengths", most), parts = choice(config.no_overlap, "_parts", most);
  const auto normal =
      config.selection == "normal" ? draws.normal(name + "_lengths_normal", {B, most}) : spans;
  const int64_t wide = config.no_overlap ? most : frames;
  const auto keys = draws.uniform(name + "_starts", {B, wide});
  const auto row_of = [](const at::Tensor& of, int64_t b) {
    return of.const_data_ptr<float>() + b * of.size(1);
  };
  Rows starts(static_cast<size_t>(B)), lengths(starts.size()), keep(starts.size());
  for (int64_t b = 0; b < B; ++b) {
    const int64_t valid = length[b].item<int64_t>();
    const int64_t count = std::min(most, span_count(config, valid, out.u[b].item<double>()));
    auto own = lengths_of(config, count, valid, row_of(spans, b), row_of(normal, b));
    auto row = config.no_overlap ? apart(config, std::move(own), valid, row_of(parts, b), row_of(keys, b))
                                 : anywhere(std::move(own), valid, row_of(keys, b));
    while (!row.starts.empty() && row.covered(valid) >= valid) row.pop();
    starts[static_cast<size_t>(b)] = std::move(row.starts);
    lengths[static_cast<size_t>(b)] = std::move(row.lengths);
  }
  out.starts = filled(starts);
  if (varied) out.lengths = filled(lengths);
  out.keep = filled(keep);
  if (!config.require_same) return out;
  const auto hidden = hidden_by(config, out, length, frames);
  const auto counts = hidden.sum(1);
  const auto some = counts.masked_select(counts > 0);
  const int64_t fewest = some.numel() > 0 ? some.min().item<int64_t>() : 0;
  const auto order = draws.uniform(name + "_keep", {B, frames});
  for (int64_t b = 0; b < B; ++b) {
    if (counts[b].item<int64_t>() <= fewest) continue;
    const auto places = hidden[b].nonzero().flatten();
    const auto own = order[b].index_select(0, places).contiguous();
    for (const int64_t i : smallest(own.const_data_ptr<float>(), own.numel(), fewest))
      keep[static_cast<size_t>(b)].push_back(places[i].item<int64_t>());
  }
  out.keep = filled(keep);
  return out;
}

at::Tensor span_mask(const SpanConfig& config, const at::Tensor& length, int64_t frames,
                     const SpanDraws& drawn) {
  auto out = hidden_by(config, drawn, length, frames);
  for (int64_t b = 0; b < out.size(0); ++b) {
    const auto kept = drawn.keep[b].masked_select(drawn.keep[b] >= 0);
    if (kept.numel() == 0) continue;
    out[b].zero_();
    out[b].index_fill_(0, kept, true);
  }
  return out;
}

at::Tensor drawn_mask(const SpanConfig& config, const at::Tensor& length, int64_t frames, Draws& draws,
                      const std::string& name) {
  if (config.prob <= 0) return at::zeros({length.size(0), frames}, at::kBool);
  return span_mask(config, length, frames, draw_spans(config, length, frames, draws, name));
}

}  // namespace lacuna::mask
