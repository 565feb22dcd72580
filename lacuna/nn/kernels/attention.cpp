#include "lacuna/nn/kernels/attention.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/kernels/loops.h"

// BLAS, as LibTorch brings it. One thread inside a parallel region.
extern "C" void sgemm_(const char* transa, const char* transb, const int* m, const int* n, const int* k,
                       const float* alpha, const float* a, const int* lda, const float* b, const int* ldb,
                       const float* beta, float* c, const int* ldc);

namespace lacuna::nn::kernels {

namespace {

constexpr int64_t kGroups = 8;  // of sequences whose gradients of one bias are summed apart

/// A matrix in rows, or its transpose.
struct Matrix {
  const float* data;
  int64_t stride;
  bool transposed = false;
  Matrix t() const { return {data, stride, !transposed}; }
};

/// c [rows, columns] = scale * a [rows, inner] b [inner, columns]. BLAS counts columns first.
void multiply(int64_t rows, int64_t columns, int64_t inner, float scale, Matrix a, Matrix b, float* c,
              int64_t stride) {
  const int m = static_cast<int>(columns), n = static_cast<int>(rows), k = static_cast<int>(inner);
  const int lda = static_cast<int>(b.stride), ldb = static_cast<int>(a.stride),
            ldc = static_cast<int>(stride);
  const float zero = 0;
  sgemm_(b.transposed ? "T" : "N", a.transposed ? "T" : "N", &m, &n, &k, &scale, b.data, &lda, a.data, &ldb,
         &zero, c, &ldc);
}

struct Sizes {
  Sizes(const Tensor& qkv, int64_t heads, const Tensor& bias)
      : S(qkv.size(0)),
        N(qkv.size(1)),
        D(qkv.size(2) / 3),
        H(heads),
        d(D / heads),
        W(bias.defined() ? bias.size(0) : 1),
        scale(1 / std::sqrt(static_cast<float>(d))) {
    LACUNA_ASSERT(qkv.is_contiguous() && (!bias.defined() || bias.is_contiguous()) && S % W == 0);
  }
  int64_t token(int64_t s, int64_t h, int64_t part) const { return s * N * 3 * D + part * D + h * d; }
  int64_t S, N, D, H, d, W;
  float scale;
};

/// Calls work(s, h, group, scratch) for every head of every sequence. Those that share a bias and a group run
/// on one thread, in order; `scratch` has room for two [N, N].
template <class Work>
void over_heads(const Sizes& z, int64_t groups, Work work) {
  const int64_t share = z.S / z.W, each = (share + groups - 1) / groups;
  at::parallel_for(0, groups * z.W * z.H, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(static_cast<size_t>(2 * z.N * z.N));
    for (int64_t task = begin; task < end; ++task) {
      const int64_t h = task % z.H, w = task / z.H % z.W, group = task / (z.H * z.W);
      for (int64_t i = group * each; i < std::min(share, (group + 1) * each); ++i)
        work(i * z.W + w, h, group, scratch.data());
    }
  });
}

const float* bias_of(const Sizes& z, const Tensor& bias, int64_t s, int64_t h) {
  return bias.defined() ? bias.const_data_ptr<float>() + (s % z.W * z.H + h) * z.N * z.N : nullptr;
}

}  // namespace

Attended attention(const Tensor& qkv, int64_t heads, const Tensor& bias) {
  const Sizes z(qkv, heads, bias);
  Attended result{torch::empty({z.S, z.N, z.D}, qkv.options()), torch::empty({z.S, z.H, z.N}, qkv.options())};
  const float* in = qkv.const_data_ptr<float>();
  float *out = result.out.data_ptr<float>(), *log_sum = result.log_sum.data_ptr<float>();
  over_heads(z, z.S / z.W, [&](int64_t s, int64_t h, int64_t, float* weights) {
    const auto part = [&](int64_t i) { return Matrix{in + z.token(s, h, i), 3 * z.D}; };
    multiply(z.N, z.N, z.d, 1, part(0), part(1).t(), weights, z.N);
    softmax_rows({0, z.N, z.N}, weights, z.scale, bias_of(z, bias, s, h), log_sum + (s * z.H + h) * z.N);
    multiply(z.N, z.d, z.N, 1, {weights, z.N}, part(2), out + s * z.N * z.D + h * z.d, z.D);
  });
  return result;
}

AttentionGradients attention_backward(const Tensor& out, const Tensor& qkv, const Tensor& log_sum,
                                      int64_t heads, const Tensor& bias, bool bias_wanted) {
  const Sizes z(qkv, heads, bias);
  LACUNA_ASSERT(out.is_contiguous());
  const int64_t square = z.N * z.N, share = z.S / z.W;
  const int64_t groups = bias_wanted ? std::min(z.W == 1 ? kGroups : 1, share) : share;
  const auto dqkv = torch::empty_like(qkv);
  const auto dbias = bias_wanted ? torch::zeros({groups, z.W, z.H, z.N, z.N}, qkv.options()) : Tensor();
  const float *in = qkv.const_data_ptr<float>(), *dout = out.const_data_ptr<float>();
  const float* kept = log_sum.const_data_ptr<float>();
  float *grad = dqkv.data_ptr<float>(), *to_bias = bias_wanted ? dbias.data_ptr<float>() : nullptr;
  over_heads(z, groups, [&](int64_t s, int64_t h, int64_t group, float* weights) {
    const auto part = [&](int64_t i) { return Matrix{in + z.token(s, h, i), 3 * z.D}; };
    const auto to = [&](int64_t i) { return grad + z.token(s, h, i); };
    const Matrix dy{dout + s * z.N * z.D + h * z.d, z.D};
    const Rows rows{0, z.N, z.N};
    float* slopes = weights + square;
    multiply(z.N, z.N, z.d, 1, part(0), part(1).t(), weights, z.N);
    softmax_again_rows(rows, weights, z.scale, bias_of(z, bias, s, h), kept + (s * z.H + h) * z.N);
    multiply(z.N, z.d, z.N, 1, Matrix{weights, z.N}.t(), dy, to(2), 3 * z.D);
    multiply(z.N, z.N, z.d, 1, dy, part(2).t(), slopes, z.N);
    softmax_backward_rows(rows, weights, slopes);
    if (to_bias) sum_rows({0, 1, square}, slopes, to_bias + ((group * z.W + s % z.W) * z.H + h) * square);
    multiply(z.N, z.d, z.N, z.scale, {slopes, z.N}, part(1), to(0), 3 * z.D);
    multiply(z.N, z.d, z.N, z.scale, Matrix{slopes, z.N}.t(), part(0), to(1), 3 * z.D);
  });
  return {dqkv, bias_wanted ? dbias.sum(0) : Tensor()};
}

}  // namespace lacuna::nn::kernels
