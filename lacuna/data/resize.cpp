#include "lacuna/data/resize.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "lacuna/core/error.h"

namespace lacuna::data {

namespace {

double triangle(double x) { return std::max(0.0, 1.0 - std::abs(x)); }

// Keys (1981), "Cubic convolution interpolation", with a = -0.5.
double cubic(double x) {
  x = std::abs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  if (x < 2) return ((-0.5 * x + 2.5) * x - 4) * x + 2;
  return 0;
}

/// In one direction: output i averages the source pixels first[i] .. first[i] + count[i] - 1.
struct Taps {
  int64_t stride = 0;  ///< weights kept for an output, a multiple of 4
  std::vector<int64_t> first, count;
  std::vector<double> weight;  ///< [outputs, stride]; 0 behind `count`
  int64_t begin() const { return first.front(); }
  int64_t end() const { return first.back() + count.back(); }
};

/// Of output pixels from .. from + count - 1 when `source` pixels become `target`.
Taps taps_of(int64_t source, int64_t target, int64_t from, int64_t count, Interpolation interpolation) {
  const bool bicubic = interpolation == Interpolation::kBicubic;
  const double scale = static_cast<double>(source) / static_cast<double>(target);
  const double stretch = std::max(scale, 1.0), support = (bicubic ? 2.0 : 1.0) * stretch;
  Taps out;
  out.stride = (static_cast<int64_t>(std::ceil(support)) * 2 + 1 + 3) / 4 * 4;
  out.weight.resize(static_cast<size_t>(out.stride * count));
  for (int64_t i = 0; i < count; ++i) {
    const double center = scale * (static_cast<double>(from + i) + 0.5);
    const int64_t low = std::max<int64_t>(static_cast<int64_t>(center - support + 0.5), 0);
    const int64_t high = std::min(static_cast<int64_t>(center + support + 0.5), source);
    double* weight = out.weight.data() + i * out.stride;
    double total = 0;
    for (int64_t j = low; j < high; ++j) {
      const double x = (static_cast<double>(j) - center + 0.5) / stretch;
      total += weight[j - low] = bicubic ? cubic(x) : triangle(x);
    }
    for (int64_t k = 0; k < high - low; ++k) weight[k] /= total;
    out.first.push_back(low), out.count.push_back(high - low);
  }
  return out;
}

/// Weights of 22 bits, as Pillow's; else of as many bits behind the point as leave the largest within 16, as
/// torchvision's.
FixedTaps fixed_point(const Taps& taps, bool pillow) {
  FixedTaps out{.stride = taps.stride, .first = taps.first, .count = taps.count};
  constexpr int kPillowBits = 22;
  if (pillow) {
    out.bits = kPillowBits;
  } else {
    const double largest = *std::max_element(taps.weight.begin(), taps.weight.end());
    while (out.bits < kPillowBits && static_cast<int>(0.5 + largest * (2 << out.bits)) < 1 << 15) ++out.bits;
  }
  const double unit = 1 << out.bits;
  const size_t count = taps.weight.size();
  out.low.resize(count);
  if (pillow) out.high.resize(count);
  for (size_t i = 0; i < count; ++i) {
    const double scaled = taps.weight[i] * unit;
    const auto weight = static_cast<int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    if (pillow) out.high[i] = static_cast<int16_t>(weight >> 11);
    out.low[i] = static_cast<int16_t>(pillow ? weight & (FixedTaps::kHigh - 1) : weight);
  }
  return out;
}

// --- float pictures --------------------------------------------------------------------------------------

/// One row of output pixels.
void filter_columns(const float* row, const Taps& taps, const std::vector<float>& weights, int64_t channels,
                    float* out) {
  for (size_t x = 0; x < taps.first.size(); ++x, out += channels) {
    const float* pixel = row + taps.first[x] * channels;
    const float* weight = weights.data() + static_cast<int64_t>(x) * taps.stride;
    for (int64_t c = 0; c < channels; ++c) {
      float sum = 0;
      for (int64_t k = 0; k < taps.count[x]; ++k) sum += weight[k] * pixel[k * channels + c];
      out[c] = sum;
    }
  }
}

/// out[i] = sum over the taps of weight * row[i], for whole rows of n values: the loop that the compiler
/// vectorises.
void filter_rows(const float* rows, const float* weight, int64_t count, int64_t n, float* out) {
  std::fill(out, out + n, 0.0F);
  for (int64_t k = 0; k < count; ++k) {
    const float* row = rows + k * n;
    for (int64_t i = 0; i < n; ++i) out[i] += weight[k] * row[i];
  }
}

std::vector<float> resample_floats(const at::Tensor& pixels, const Resampling& what) {
  const int64_t channels = pixels.size(2), stride = pixels.size(1) * channels,
                n = what.window.width * channels;
  const Taps vertical = taps_of(what.crop.height, what.full.h, what.window.top, what.window.height,
                                what.interpolation),
             horizontal = taps_of(what.crop.width, what.full.w, what.window.left, what.window.width,
                                  what.interpolation);
  const std::vector<float> down(vertical.weight.begin(), vertical.weight.end()),
      across(horizontal.weight.begin(), horizontal.weight.end());
  // Only the source rows that the window reads.
  const int64_t first = vertical.begin(), height = vertical.end() - first;
  const float* source =
      pixels.const_data_ptr<float>() + (what.crop.top + first) * stride + what.crop.left * channels;
  std::vector<float> narrowed(static_cast<size_t>(height * n));
  for (int64_t y = 0; y < height; ++y)
    filter_columns(source + y * stride, horizontal, across, channels, narrowed.data() + y * n);
  std::vector<float> out(static_cast<size_t>(what.window.height * n));
  for (int64_t y = 0; y < what.window.height; ++y)
    filter_rows(narrowed.data() + (vertical.first[static_cast<size_t>(y)] - first) * n,
                down.data() + y * vertical.stride, vertical.count[static_cast<size_t>(y)], n,
                out.data() + y * n);
  return out;
}

// --- 8-bit pictures --------------------------------------------------------------------------------------

/// The source rows of a crop made narrow, in order, as they are asked for: the last few stay.
class NarrowRows {
 public:
  NarrowRows(const at::Tensor& pixels, const Resampling& what, const FixedTaps& taps, int64_t kept,
             const RowLoops& loops)
      : taps_(taps),
        loops_(loops),
        channels_(pixels.size(2)),
        step_(pixels.size(1) * channels_),
        height_(what.crop.height),
        kept_(kept + 1),  // rows come in pairs
        room_((what.window.width * channels_ + 31) / 32 * 32 + kRowSlack),
        source_(pixels.const_data_ptr<uint8_t>() + what.crop.top * step_ + what.crop.left * channels_),
        end_(pixels.const_data_ptr<uint8_t>() + pixels.numel()) {
    // Memory that a thread keeps: nothing is fetched and zeroed for each picture.
    thread_local std::vector<uint8_t> memory;
    const auto needed = static_cast<size_t>((kept_ + 1) * room_ + 2 * (step_ + kRowSlack));
    if (memory.size() < needed) memory.resize(needed);
    memory_ = memory.data();
  }

  /// Makes rows ready up to `end`, from `begin` on where none is yet.
  void advance(int64_t begin, int64_t end) {
    next_ = std::max(next_, begin);
    for (; next_ < end; next_ += 2) {
      const bool second = next_ + 1 < height_;
      const uint8_t* const rows[2] = {readable(next_, 0), readable(second ? next_ + 1 : next_, 1)};
      uint8_t* const out[2] = {at(next_), second ? at(next_ + 1) : spare()};
      loops_.narrow(rows, taps_, channels_, out);
    }
  }
  const uint8_t* operator[](int64_t y) const { return at(y); }

 private:
  uint8_t* at(int64_t y) const { return memory_ + y % kept_ * room_; }
  uint8_t* spare() const { return memory_ + kept_ * room_; }
  /// Row `y`, copied to where one may read behind its end when that is the end of the picture.
  const uint8_t* readable(int64_t y, int64_t place) const {
    const uint8_t* row = source_ + y * step_;
    const int64_t bytes = (taps_.first.back() + taps_.count.back()) * channels_;
    if (end_ - row >= bytes + kRowSlack) return row;
    uint8_t* copy = spare() + room_ + place * (step_ + kRowSlack);
    std::copy_n(row, bytes, copy);
    return copy;
  }

  const FixedTaps& taps_;
  const RowLoops& loops_;
  int64_t channels_, step_, height_, kept_, room_;
  const uint8_t *source_, *end_;
  uint8_t* memory_;
  int64_t next_ = 0;
};

void check(const at::Tensor& pixels, const Resampling& what) {
  const io::Rect &crop = what.crop, &window = what.window;
  LACUNA_ASSERT(pixels.dim() == 3 && pixels.is_contiguous());
  LACUNA_ASSERT(crop.top >= 0 && crop.left >= 0 && crop.height > 0 && crop.width > 0);
  LACUNA_ASSERT(crop.top + crop.height <= pixels.size(0) && crop.left + crop.width <= pixels.size(1));
  LACUNA_ASSERT(window.top >= 0 && window.left >= 0 && window.height > 0 && window.width > 0);
  LACUNA_ASSERT(window.top + window.height <= what.full.h && window.left + window.width <= what.full.w);
}

}  // namespace

void resample_rows(const at::Tensor& pixels, const Resampling& what,
                   const std::function<void(int64_t, const uint8_t*)>& row, const RowLoops& loops) {
  check(pixels, what);
  LACUNA_ASSERT(pixels.scalar_type() == at::kByte);
  const io::Rect& window = what.window;
  const FixedTaps vertical = fixed_point(
                      taps_of(what.crop.height, what.full.h, window.top, window.height, what.interpolation),
                      what.pillow),
                  horizontal = fixed_point(
                      taps_of(what.crop.width, what.full.w, window.left, window.width, what.interpolation),
                      what.pillow);
  const int64_t n = window.width * pixels.size(2),
                most = *std::max_element(vertical.count.begin(), vertical.count.end());
  NarrowRows narrowed(pixels, what, horizontal, most, loops);
  thread_local std::vector<uint8_t> line;
  line.resize(static_cast<size_t>((n + 31) / 32 * 32));
  std::vector<const uint8_t*> rows(static_cast<size_t>(most));
  for (int64_t y = 0; y < window.height; ++y) {
    const int64_t first = vertical.first[static_cast<size_t>(y)],
                  count = vertical.count[static_cast<size_t>(y)];
    narrowed.advance(first, first + count);
    for (int64_t k = 0; k < count; ++k) rows[static_cast<size_t>(k)] = narrowed[first + k];
    loops.mix(rows.data(), vertical, y, n, line.data());
    row(y, line.data());
  }
}

std::vector<float> resample(const at::Tensor& pixels, const Resampling& what) {
  check(pixels, what);
  if (pixels.scalar_type() == at::kFloat) return resample_floats(pixels, what);
  const int64_t n = what.window.width * pixels.size(2);
  std::vector<float> out(static_cast<size_t>(what.window.height * n));
  resample_rows(pixels, what,
                [&](int64_t y, const uint8_t* levels) { std::copy_n(levels, n, out.data() + y * n); });
  return out;
}

at::Tensor resize(const at::Tensor& pixels, const io::Rect& crop, Size2 size, Interpolation interpolation) {
  const Resampling what{crop, size, {0, 0, size.h, size.w}, interpolation};
  auto out = at::empty({size.h, size.w, pixels.size(2)}, pixels.options());
  if (pixels.scalar_type() == at::kByte) {
    const int64_t n = size.w * pixels.size(2);
    auto* to = out.mutable_data_ptr<uint8_t>();
    resample_rows(pixels, what,
                  [&](int64_t y, const uint8_t* levels) { std::copy_n(levels, n, to + y * n); });
  } else {
    const auto values = resample(pixels, what);
    std::copy(values.begin(), values.end(), out.mutable_data_ptr<float>());
  }
  return out;
}

}  // namespace lacuna::data
