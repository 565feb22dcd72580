#pragma once
// The loops behind rows.h and attention.h: plain memory, one thread, rows [begin, end). "T" is float or
// Bf16, bfloat16's bits. The best instruction set of the machine is chosen when the program starts.

#include <cstdint>

namespace lacuna::nn::kernels {

using Bf16 = uint16_t;

struct Rows {
  int64_t begin, end, width;
  /// Where not null: row i of what is called outer stands at place(i), `period` rows in this order.
  const int64_t* order = nullptr;
  int64_t period = 0;
  int64_t place(int64_t i) const { return order ? i / period * period + order[i % period] : i; }
};

/// y = (x - mean) * rstd * gamma + beta; keeps mean and rstd. x is outer.
void norm_rows(Rows rows, const float* x, const float* gamma, const float* beta, float eps, float* y,
               float* mean, float* rstd);
void norm_rows(Rows rows, const float* x, const float* gamma, const float* beta, float eps, Bf16* y,
               float* mean, float* rstd);
/// The same with mean and rstd given.
void normalize_rows(Rows rows, const float* x, const float* gamma, const float* beta, const float* mean,
                    const float* rstd, float* y);
void normalize_rows(Rows rows, const float* x, const float* gamma, const float* beta, const float* mean,
                    const float* rstd, Bf16* y);
/// dx = out + gradient through the norm of dy; adds to dgamma, dbeta and dbias [width]. dx, out, x are outer.
struct NormSums {
  float *gamma, *beta, *bias;
};
void norm_backward_rows(Rows rows, const float* out, const float* dy, const float* x, const float* mean,
                        const float* rstd, const float* gamma, float* dx, NormSums sums);
void norm_backward_rows(Rows rows, const float* out, const Bf16* dy, const float* x, const float* mean,
                        const float* rstd, const float* gamma, float* dx, NormSums sums);

/// out = x + branch + bias. out, x are outer.
void add_rows(Rows rows, const float* x, const float* branch, const float* bias, float* out);
void add_rows(Rows rows, const float* x, const Bf16* branch, const float* bias, float* out);

/// y = x, which is outer.
void gather_rows(Rows rows, const float* x, float* y);
void gather_rows(Rows rows, const float* x, Bf16* y);

/// out = GELU(h + bias).
void gelu_rows(Rows rows, const float* h, const float* bias, float* out);
void gelu_rows(Rows rows, const Bf16* h, const float* bias, Bf16* out);
/// out = GELU(h + bias); grad times the GELU's slope in place; adds to dbias [width].
void gelu_backward_rows(Rows rows, const float* h, const float* bias, float* grad, float* out, float* dbias);
void gelu_backward_rows(Rows rows, const Bf16* h, const float* bias, Bf16* grad, Bf16* out, float* dbias);

/// Adds rows to sum [width].
void sum_rows(Rows rows, const float* x, float* sum);
void sum_rows(Rows rows, const Bf16* x, float* sum);

/// logits = softmax(scale * logits + bias) in place, `bias` [rows, width] or null.
/// log_sum: log of the sum of exponentials of each row, for softmax_again.
void softmax_rows(Rows rows, float* logits, float scale, const float* bias, float* log_sum);
/// The same weights once more.
void softmax_again_rows(Rows rows, float* logits, float scale, const float* bias, const float* log_sum);
/// grad = weights * (grad - sum(weights * grad)) in place: the gradient of scale * logits + bias.
void softmax_backward_rows(Rows rows, const float* weights, float* grad);

}  // namespace lacuna::nn::kernels
