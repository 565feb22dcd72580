#include "lacuna/nn/kernels/loops.h"

#include <bit>
#include <cmath>
#include <cstdlib>
#include <string_view>

// Each loop is compiled three times and chosen when it is called. Not target_clones: clang 16's resolver does
// not know x86-64-v3 and v4 on every system and quietly takes the slowest.
#if defined(__x86_64__)
#define LACUNA_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")))
#define LACUNA_AVX2 __attribute__((target("avx2,fma,bmi2")))
#else
#define LACUNA_AVX512
#define LACUNA_AVX2
#endif
#define LACUNA_INLINE inline __attribute__((always_inline))

namespace lacuna::nn::kernels {

namespace {

enum class Vectors { kPlain, kAvx2, kAvx512 };

/// What this machine can do; LACUNA_VECTORS=avx2 or plain takes less, so that tests see every form.
Vectors vectors() {
#if defined(__x86_64__)
  static const Vectors best = [] {
    const char* asked = std::getenv("LACUNA_VECTORS");
    const std::string_view limit = asked == nullptr ? "" : asked;
    __builtin_cpu_init();
    if (limit == "plain" || !__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
      return Vectors::kPlain;
    const bool wide = limit != "avx2" && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
    return wide ? Vectors::kAvx512 : Vectors::kAvx2;
  }();
  return best;
#else
  return Vectors::kPlain;
#endif
}

LACUNA_INLINE float load(float x) { return x; }
LACUNA_INLINE float load(Bf16 x) { return std::bit_cast<float>(static_cast<uint32_t>(x) << 16); }
LACUNA_INLINE void store(float& to, float x) { to = x; }
/// Rounds to the nearest, ties to even; a nan stays one.
LACUNA_INLINE void store(Bf16& to, float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  to = static_cast<Bf16>(x != x ? 0x7fc0u : rounded);
}

/// exp(x) for x <= 88 to 2 ulp; below -87 it is 1e-38 rather than less.
LACUNA_INLINE float exponential(float x) {
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to a whole number
  const float clamped = x < -87.0F ? -87.0F : x;
  const float shifted = clamped * 1.44269504F + kRound;
  const float n = shifted - kRound;
  const float r = (clamped - n * 0.693359375F) + n * 2.12194440e-4F;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * r * r + r + 1.0F;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(p) + (std::bit_cast<uint32_t>(shifted) << 23));
}

/// The normal distribution at x: cumulative, and exp(-x^2/2).
struct Normal {
  float below, bell;
};
LACUNA_INLINE Normal normal(float x) {
  const float z = std::fabs(x) * 0.70710678F;
  const float bell = exponential(-z * z);
  const float t = 1.0F / (1.0F + 0.3275911F * z);
  const float tail =
      0.5F * bell * t *
      (0.254829592F + t * (-0.284496736F + t * (1.421413741F + t * (-1.453152027F + t * 1.061405429F))));
  return {x < 0 ? tail : 1.0F - tail, bell};
}

template <class T>
LACUNA_INLINE void normalize_row(int64_t width, const float* x, const float* gamma, const float* beta,
                                 float mean, float rstd, T* y) {
#pragma omp simd
  for (int64_t j = 0; j < width; ++j) store(y[j], (x[j] - mean) * rstd * gamma[j] + beta[j]);
}

template <class T>
LACUNA_INLINE void norm_body(Rows rows, const float* x, const float* gamma, const float* beta, float eps,
                             T* y, float* mean, float* rstd) {
  const auto width = static_cast<float>(rows.width);
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const float* row = x + rows.place(i) * rows.width;
    float sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < rows.width; ++j) sum += row[j];
    const float center = sum / width;
#pragma omp simd reduction(+ : squares)
    for (int64_t j = 0; j < rows.width; ++j) squares += (row[j] - center) * (row[j] - center);
    mean[i] = center;
    rstd[i] = 1.0F / std::sqrt(squares / width + eps);
    normalize_row(rows.width, row, gamma, beta, center, rstd[i], y + i * rows.width);
  }
}

template <class T>
LACUNA_INLINE void normalize_body(Rows rows, const float* x, const float* gamma, const float* beta,
                                  const float* mean, const float* rstd, T* y) {
  for (int64_t i = rows.begin; i < rows.end; ++i)
    normalize_row(rows.width, x + rows.place(i) * rows.width, gamma, beta, mean[i], rstd[i],
                  y + i * rows.width);
}

template <class T>
LACUNA_INLINE void norm_backward_body(Rows rows, const float* out, const T* dy, const float* x,
                                      const float* mean, const float* rstd, const float* gamma, float* dx,
                                      NormSums sums) {
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int64_t at = rows.place(i) * rows.width;
    const float center = mean[i], scale = rstd[i];
    const T* slopes = dy + i * rows.width;
    float plain = 0, along = 0;
#pragma omp simd reduction(+ : plain, along)
    for (int64_t j = 0; j < rows.width; ++j) {
      const float unit = (x[at + j] - center) * scale, slope = load(slopes[j]);
      sums.gamma[j] += slope * unit;
      sums.beta[j] += slope;
      sums.bias[j] += out[at + j];
      plain += slope * gamma[j];
      along += slope * gamma[j] * unit;
    }
    plain /= static_cast<float>(rows.width);
    along /= static_cast<float>(rows.width);
#pragma omp simd
    for (int64_t j = 0; j < rows.width; ++j) {
      const float unit = (x[at + j] - center) * scale;
      dx[at + j] = out[at + j] + scale * (load(slopes[j]) * gamma[j] - plain - unit * along);
    }
  }
}

template <class T>
LACUNA_INLINE void add_body(Rows rows, const float* x, const T* branch, const float* bias, float* out) {
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int64_t at = rows.place(i) * rows.width;
    const T* part = branch + i * rows.width;
#pragma omp simd
    for (int64_t j = 0; j < rows.width; ++j) out[at + j] = x[at + j] + load(part[j]) + bias[j];
  }
}

template <class T>
LACUNA_INLINE void gather_body(Rows rows, const float* x, T* y) {
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const float* row = x + rows.place(i) * rows.width;
#pragma omp simd
    for (int64_t j = 0; j < rows.width; ++j) store(y[i * rows.width + j], row[j]);
  }
}

template <class T>
LACUNA_INLINE void gelu_body(Rows rows, const T* h, const float* bias, T* out) {
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int64_t at = i * rows.width;
#pragma omp simd
    for (int64_t j = 0; j < rows.width; ++j) {
      const float x = load(h[at + j]) + bias[j];
      store(out[at + j], x * normal(x).below);
    }
  }
}

template <class T>
LACUNA_INLINE void gelu_backward_body(Rows rows, const T* h, const float* bias, T* grad, T* out,
                                      float* dbias) {
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int64_t at = i * rows.width;
#pragma omp simd
    for (int64_t j = 0; j < rows.width; ++j) {
      const float x = load(h[at + j]) + bias[j];
      const Normal n = normal(x);
      const float slope = load(grad[at + j]) * (n.below + x * n.bell * 0.39894228F);
      store(out[at + j], x * n.below);
      store(grad[at + j], slope);
      dbias[j] += slope;
    }
  }
}

template <class T>
LACUNA_INLINE void sum_body(Rows rows, const T* x, float* sum) {
  for (int64_t i = rows.begin; i < rows.end; ++i) {
#pragma omp simd
    for (int64_t j = 0; j < rows.width; ++j) sum[j] += load(x[i * rows.width + j]);
  }
}

LACUNA_INLINE float biased(float logit, float scale, const float* bias, int64_t at) {
  return bias ? logit * scale + bias[at] : logit * scale;
}

/// In lanes, since a maximum of floats is not reordered by the compiler (nan).
LACUNA_INLINE float largest(const float* x, int64_t count) {
  constexpr int64_t kLanes = 16;
  float lanes[kLanes];
  for (float& lane : lanes) lane = x[0];
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes)
#pragma omp simd
    for (int64_t k = 0; k < kLanes; ++k) lanes[k] = x[j + k] > lanes[k] ? x[j + k] : lanes[k];
  float top = lanes[0];
  for (const float lane : lanes) top = lane > top ? lane : top;
  for (; j < count; ++j) top = x[j] > top ? x[j] : top;
  return top;
}

LACUNA_INLINE void softmax_body(Rows rows, float* logits, float scale, const float* bias, float* log_sum) {
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    float* row = logits + i * rows.width;
    const float* shift = bias ? bias + i * rows.width : nullptr;
#pragma omp simd
    for (int64_t j = 0; j < rows.width; ++j) row[j] = biased(row[j], scale, shift, j);
    const float top = largest(row, rows.width);
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < rows.width; ++j) {
      row[j] = exponential(row[j] - top);
      sum += row[j];
    }
    const float share = 1.0F / sum;
#pragma omp simd
    for (int64_t j = 0; j < rows.width; ++j) row[j] *= share;
    log_sum[i] = top + std::log(sum);
  }
}

LACUNA_INLINE void softmax_again_body(Rows rows, float* logits, float scale, const float* bias,
                                      const float* log_sum) {
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    float* row = logits + i * rows.width;
    const float* shift = bias ? bias + i * rows.width : nullptr;
    const float down = log_sum[i];
#pragma omp simd
    for (int64_t j = 0; j < rows.width; ++j) row[j] = exponential(biased(row[j], scale, shift, j) - down);
  }
}

LACUNA_INLINE void softmax_backward_body(Rows rows, const float* weights, float* grad) {
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const int64_t at = i * rows.width;
    float mean = 0;
#pragma omp simd reduction(+ : mean)
    for (int64_t j = 0; j < rows.width; ++j) mean += weights[at + j] * grad[at + j];
#pragma omp simd
    for (int64_t j = 0; j < rows.width; ++j) grad[at + j] = weights[at + j] * (grad[at + j] - mean);
  }
}

}  // namespace

// clang-format off
#define LACUNA_KERNEL(name, body, parameters, arguments)              \
  namespace {                                                         \
  LACUNA_AVX512 void avx512_##name parameters { body arguments; }     \
  LACUNA_AVX2 void avx2_##name parameters { body arguments; }         \
  void plain_##name parameters { body arguments; }                    \
  }                                                                   \
  void name parameters {                                              \
    switch (vectors()) {                                              \
      case Vectors::kAvx512: return avx512_##name arguments;          \
      case Vectors::kAvx2: return avx2_##name arguments;              \
      case Vectors::kPlain: return plain_##name arguments;            \
    }                                                                 \
  }
// clang-format on

#define LACUNA_FLOAT_KERNELS(T)                                                                       \
  LACUNA_KERNEL(norm_rows, norm_body,                                                                 \
                (Rows rows, const float* x, const float* gamma, const float* beta, float eps, T* y,   \
                 float* mean, float* rstd),                                                           \
                (rows, x, gamma, beta, eps, y, mean, rstd))                                           \
  LACUNA_KERNEL(normalize_rows, normalize_body,                                                       \
                (Rows rows, const float* x, const float* gamma, const float* beta, const float* mean, \
                 const float* rstd, T* y),                                                            \
                (rows, x, gamma, beta, mean, rstd, y))                                                \
  LACUNA_KERNEL(norm_backward_rows, norm_backward_body,                                               \
                (Rows rows, const float* out, const T* dy, const float* x, const float* mean,         \
                 const float* rstd, const float* gamma, float* dx, NormSums sums),                    \
                (rows, out, dy, x, mean, rstd, gamma, dx, sums))                                      \
  LACUNA_KERNEL(add_rows, add_body,                                                                   \
                (Rows rows, const float* x, const T* branch, const float* bias, float* out),          \
                (rows, x, branch, bias, out))                                                         \
  LACUNA_KERNEL(gather_rows, gather_body, (Rows rows, const float* x, T* y), (rows, x, y))            \
  LACUNA_KERNEL(gelu_rows, gelu_body, (Rows rows, const T* h, const float* bias, T* out),             \
                (rows, h, bias, out))                                                                 \
  LACUNA_KERNEL(gelu_backward_rows, gelu_backward_body,                                               \
                (Rows rows, const T* h, const float* bias, T* grad, T* out, float* dbias),            \
                (rows, h, bias, grad, out, dbias))                                                    \
  LACUNA_KERNEL(sum_rows, sum_body, (Rows rows, const T* x, float* sum), (rows, x, sum))

LACUNA_FLOAT_KERNELS(float)
LACUNA_FLOAT_KERNELS(Bf16)

LACUNA_KERNEL(softmax_rows, softmax_body,
              (Rows rows, float* logits, float scale, const float* bias, float* log_sum),
              (rows, logits, scale, bias, log_sum))
LACUNA_KERNEL(softmax_again_rows, softmax_again_body,
              (Rows rows, float* logits, float scale, const float* bias, const float* log_sum),
              (rows, logits, scale, bias, log_sum))
LACUNA_KERNEL(softmax_backward_rows, softmax_backward_body, (Rows rows, const float* weights, float* grad),
              (rows, weights, grad))

}  // namespace lacuna::nn::kernels
