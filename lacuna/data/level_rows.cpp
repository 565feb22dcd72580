#include "lacuna/data/level_rows.h"

#include <algorithm>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace lacuna::data {

namespace {

// --- portable --------------------------------------------------------------------------------------------

int32_t weight_of(const FixedTaps& taps, int64_t at) {
  const auto i = static_cast<size_t>(at);
  return taps.wide() ? taps.high[i] * FixedTaps::kHigh + taps.low[i] : taps.low[i];
}

uint8_t to_level(int32_t sum, int bits) {
  return static_cast<uint8_t>(std::clamp((sum + (1 << (bits - 1))) >> bits, 0, 255));
}

void narrow_row(const uint8_t* row, const FixedTaps& taps, int64_t channels, uint8_t* out) {
  for (int64_t x = 0; x < taps.outputs(); ++x, out += channels) {
    const uint8_t* pixel = row + taps.first[static_cast<size_t>(x)] * channels;
    const int64_t count = taps.count[static_cast<size_t>(x)];
    for (int64_t c = 0; c < channels; ++c) {
      int32_t sum = 0;
      for (int64_t k = 0; k < count; ++k)
        sum += weight_of(taps, x * taps.stride + k) * pixel[k * channels + c];
      out[c] = to_level(sum, taps.bits);
    }
  }
}

void narrow(const uint8_t* const rows[2], const FixedTaps& taps, int64_t channels, uint8_t* const out[2]) {
  for (int i = 0; i < 2; ++i) narrow_row(rows[i], taps, channels, out[i]);
}

void mix(const uint8_t* const* rows, const FixedTaps& taps, int64_t y, int64_t n, uint8_t* out) {
  const int64_t count = taps.count[static_cast<size_t>(y)];
  for (int64_t i = 0; i < n; ++i) {
    int32_t sum = 0;
    for (int64_t k = 0; k < count; ++k) sum += weight_of(taps, y * taps.stride + k) * rows[k][i];
    out[i] = to_level(sum, taps.bits);
  }
}

/// Pixels from `begin` on.
void normalize_from(const uint8_t* row, int64_t begin, int64_t width, const LevelScale& by_channel, bool flip,
                    float* out, int64_t plane) {
  const auto channels = static_cast<int64_t>(by_channel.scale.size());
  for (int64_t c = 0; c < channels; ++c, out += plane) {
    const float scale = by_channel.scale[static_cast<size_t>(c)],
                shift = by_channel.shift[static_cast<size_t>(c)];
    for (int64_t x = begin; x < width; ++x)
      out[flip ? width - 1 - x : x] = static_cast<float>(row[x * channels + c]) * scale + shift;
  }
}

void normalize(const uint8_t* row, int64_t width, const LevelScale& by_channel, bool flip, float* out,
               int64_t plane) {
  normalize_from(row, 0, width, by_channel, flip, out, plane);
}

#if defined(__x86_64__)
// --- AVX2 ------------------------------------------------------------------------------------------------
// The products are those of vpmaddwd: two 16-bit weights times two levels, summed in 32 bits. Weights of 22
// bits take two of them, for their upper and lower half. No FMA: normalising rounds twice, as the portable
// form does.
#define LACUNA_AVX2 __attribute__((target("avx2")))

/// Sums of products with both halves of the weights.
template <bool kWide>
struct Sum {
  __m256i low, high;
};

template <bool kWide>
LACUNA_AVX2 inline Sum<kWide> no_sum() {
  return {_mm256_setzero_si256(), _mm256_setzero_si256()};
}

template <bool kWide>
LACUNA_AVX2 inline void add_products(Sum<kWide>& sum, __m256i levels, __m256i low, __m256i high) {
  sum.low = _mm256_add_epi32(sum.low, _mm256_madd_epi16(levels, low));
  if constexpr (kWide) sum.high = _mm256_add_epi32(sum.high, _mm256_madd_epi16(levels, high));
}

template <bool kWide>
LACUNA_AVX2 inline __m256i total(const Sum<kWide>& sum) {
  if constexpr (kWide) return _mm256_add_epi32(sum.low, _mm256_slli_epi32(sum.high, 11));
  return sum.low;
}

/// The sums of two rows, one a lane: what either lane of `a` and of `b` holds comes together.
LACUNA_AVX2 inline __m256i by_row(__m256i a, __m256i b) {
  return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
}

/// Rows of RGB. Each lane of a sum holds R, G, B of two of four taps.
template <bool kWide>
LACUNA_AVX2 void narrow_rgb(const uint8_t* const rows[2], const FixedTaps& taps, uint8_t* const out[2]) {
  const __m256i spread = _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1,  //
                                          6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
  const __m256i by_lane = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
  const __m256i half = _mm256_set1_epi32(1 << (taps.bits - 1));
  const __m128i bits = _mm_cvtsi32_si128(taps.bits);
  const auto weights = [&](const int16_t* at) __attribute__((always_inline, target("avx2"))) {
    return _mm256_permutevar8x32_epi32(
        _mm256_castsi128_si256(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at))), by_lane);
  };
  const auto levels = [&](const uint8_t* at) __attribute__((always_inline, target("avx2"))) {
    return _mm256_shuffle_epi8(
        _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at))), spread);
  };
  // Bytes written may alias anything: what the loop reads is fetched before it.
  const int64_t outputs = taps.outputs(), stride = taps.stride;
  const int64_t *first = taps.first.data(), *counts = taps.count.data();
  const int16_t *low = taps.low.data(), *high = kWide ? taps.high.data() : low;
  const uint8_t *row_a = rows[0], *row_b = rows[1];
  uint8_t *to_a = out[0], *to_b = out[1];
  for (int64_t x = 0; x < outputs; ++x, low += stride, high += stride) {
    const int64_t count = counts[x];
    int64_t from = first[x] * 3;
    auto a = no_sum<kWide>(), b = no_sum<kWide>();
    for (int64_t k = 0; k < count; k += 4, from += 12) {
      const __m256i low_weights = weights(low + k), high_weights = kWide ? weights(high + k) : low_weights;
      add_products<kWide>(a, levels(row_a + from), low_weights, high_weights);
      add_products<kWide>(b, levels(row_b + from), low_weights, high_weights);
    }
    __m256i both = by_row(total<kWide>(a), total<kWide>(b));
    both = _mm256_sra_epi32(_mm256_add_epi32(both, half), bits);
    both = _mm256_packs_epi32(both, both);
    both = _mm256_packus_epi16(both, both);
    const auto put = [](uint8_t*& to, int32_t pixel) {
      std::memcpy(to, &pixel, 4);  // the fourth byte is the next pixel's
      to += 3;
    };
    put(to_a, _mm256_cvtsi256_si32(both));
    put(to_b, _mm_cvtsi128_si32(_mm256_extracti128_si256(both, 1)));
  }
}

void narrow_avx2(const uint8_t* const rows[2], const FixedTaps& taps, int64_t channels,
                 uint8_t* const out[2]) {
  if (channels != 3) return narrow(rows, taps, channels, out);
  taps.wide() ? narrow_rgb<true>(rows, taps, out) : narrow_rgb<false>(rows, taps, out);
}

template <bool kWide>
LACUNA_AVX2 void mix_32(const uint8_t* const* rows, const FixedTaps& taps, int64_t y, int64_t n,
                        uint8_t* out) {
  const int64_t count = taps.count[static_cast<size_t>(y)];
  const int16_t* low = taps.low.data() + y * taps.stride;
  const int16_t* high = kWide ? taps.high.data() + y * taps.stride : low;
  const __m256i half = _mm256_set1_epi32(1 << (taps.bits - 1));
  const __m128i bits = _mm_cvtsi32_si128(taps.bits);
  const auto pair = [](const int16_t* at) __attribute__((always_inline, target("avx2"))) {
    int32_t both = 0;
    std::memcpy(&both, at, 4);
    return _mm256_set1_epi32(both);
  };
  for (int64_t i = 0; i < n; i += 32) {
    Sum<kWide> sum[4] = {no_sum<kWide>(), no_sum<kWide>(), no_sum<kWide>(), no_sum<kWide>()};
    for (int64_t k = 0; k < count; k += 2) {
      const uint8_t *a = rows[k] + i, *b = k + 1 < count ? rows[k + 1] + i : a;  // the weight there is 0
      const __m256i low_weights = pair(low + k), high_weights = kWide ? pair(high + k) : low_weights;
      for (int part = 0; part < 2; ++part) {
        const __m128i va = _mm_loadu_si128(reinterpret_cast<const __m128i*>(a + part * 16));
        const __m128i vb = _mm_loadu_si128(reinterpret_cast<const __m128i*>(b + part * 16));
        add_products<kWide>(sum[part * 2], _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(va, vb)), low_weights,
                            high_weights);
        add_products<kWide>(sum[part * 2 + 1], _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(va, vb)), low_weights,
                            high_weights);
      }
    }
    __m256i whole[4];
    for (int part = 0; part < 4; ++part)
      whole[part] = _mm256_sra_epi32(_mm256_add_epi32(total<kWide>(sum[part]), half), bits);
    const __m256i first = _mm256_packs_epi32(whole[0], whole[1]),
                  second = _mm256_packs_epi32(whole[2], whole[3]);
    const __m256i in_order = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(first, second),
                                                         _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), in_order);
  }
}

void mix_avx2(const uint8_t* const* rows, const FixedTaps& taps, int64_t y, int64_t n, uint8_t* out) {
  taps.wide() ? mix_32<true>(rows, taps, y, n, out) : mix_32<false>(rows, taps, y, n, out);
}

/// Eight pixels at a time; 24 bytes are read as two times sixteen.
LACUNA_AVX2 void normalize_rgb(const uint8_t* row, int64_t width, const LevelScale& by_channel, bool flip,
                               float* out, int64_t plane) {
  // Bytes of channel c, pixel i: 3 i + c, in the first sixteen where that is below 16, else in the second.
  alignas(16) int8_t head[3][16], tail[3][16];
  __m256 scale[3], shift[3];
  for (int c = 0; c < 3; ++c) {
    for (int i = 0; i < 16; ++i) {
      const int at = 3 * (flip ? 7 - i : i) + c;
      head[c][i] = static_cast<int8_t>(i < 8 && at < 16 ? at : -1);
      tail[c][i] = static_cast<int8_t>(i < 8 && at >= 16 ? at - 8 : -1);
    }
    scale[c] = _mm256_set1_ps(by_channel.scale[static_cast<size_t>(c)]);
    shift[c] = _mm256_set1_ps(by_channel.shift[static_cast<size_t>(c)]);
  }
  int64_t x = 0;
  for (; x + 8 <= width; x += 8) {
    const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + x * 3)),
                  b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + x * 3 + 8));
    float* to = out + (flip ? width - 8 - x : x);
    for (int c = 0; c < 3; ++c, to += plane) {
      const __m128i bytes =
          _mm_or_si128(_mm_shuffle_epi8(a, _mm_load_si128(reinterpret_cast<const __m128i*>(head[c]))),
                       _mm_shuffle_epi8(b, _mm_load_si128(reinterpret_cast<const __m128i*>(tail[c]))));
      const __m256 value = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
      _mm256_storeu_ps(to, _mm256_add_ps(_mm256_mul_ps(value, scale[c]), shift[c]));
    }
  }
  normalize_from(row, x, width, by_channel, flip, out, plane);
}

void normalize_avx2(const uint8_t* row, int64_t width, const LevelScale& by_channel, bool flip, float* out,
                    int64_t plane) {
  by_channel.scale.size() == 3 ? normalize_rgb(row, width, by_channel, flip, out, plane)
                               : normalize(row, width, by_channel, flip, out, plane);
}
#endif

}  // namespace

const RowLoops& portable_row_loops() {
  static constexpr RowLoops kLoops{narrow, mix, normalize};
  return kLoops;
}

const RowLoops& row_loops() {
#if defined(__x86_64__)
  static constexpr RowLoops kAvx2{narrow_avx2, mix_avx2, normalize_avx2};
  static const bool avx2 = __builtin_cpu_supports("avx2");
  if (avx2) return kAvx2;
#endif
  return portable_row_loops();
}

}  // namespace lacuna::data
