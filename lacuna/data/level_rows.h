#pragma once
// Loops over the rows of 8-bit pictures: what resizing and normalising cost is here. Each has a portable form
// and one for AVX2, chosen once by what the processor can; both give the same numbers to the bit.

#include <cstdint>
#include <vector>

namespace lacuna::data {

/// Fixed-point weights of antialiased resampling in one direction: output i is the sum of `count[i]` source
/// values from `first[i]` on, each times its weight, plus a half, shifted right by `bits`, clamped to 0 ..
/// 255.
struct FixedTaps {
  int bits = 0;
  int64_t stride = 0;                 ///< weights kept for an output, a multiple of 4; 0 behind `count`
  std::vector<int64_t> first, count;  ///< [outputs]
  std::vector<int16_t> low,
      high;  ///< [outputs, stride]; weight = low, or high * kHigh + low (0 <= low < kHigh)
  static constexpr int32_t kHigh = 2048;
  int64_t outputs() const { return static_cast<int64_t>(first.size()); }
  bool wide() const { return !high.empty(); }  ///< weights of 22 bits instead of 16
};

/// level -> level * scale + shift, by channel.
struct LevelScale {
  std::vector<float> scale, shift;
};

/// Bytes behind a row that narrow() may read, and behind its output that it may write.
inline constexpr int64_t kRowSlack = 32;

/// The loops in one form.
struct RowLoops {
  /// Two rows of `channels` interleaved values become two of taps.outputs() pixels. Reads no more than
  /// kRowSlack bytes behind the last tap, writes no more than kRowSlack bytes behind the last pixel.
  void (*narrow)(const uint8_t* const rows[2], const FixedTaps& taps, int64_t channels,
                 uint8_t* const out[2]);
  /// Output row `y` of `n` values out of the rows taps.first[y] + k = rows[k]. Rows and `out` have room for n
  /// rounded up to 32.
  void (*mix)(const uint8_t* const* rows, const FixedTaps& taps, int64_t y, int64_t n, uint8_t* out);
  /// `width` interleaved pixels to planes that lie `plane` floats apart, mirrored or not.
  void (*normalize)(const uint8_t* row, int64_t width, const LevelScale& by_channel, bool flip, float* out,
                    int64_t plane);
};

const RowLoops& portable_row_loops();
const RowLoops& row_loops();  ///< the fastest that this processor can run

}  // namespace lacuna::data
