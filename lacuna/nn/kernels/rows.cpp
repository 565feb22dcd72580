#include "lacuna/nn/kernels/rows.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/nn/kernels/loops.h"

namespace lacuna::nn::kernels {

namespace {

constexpr int64_t kGrain = 1 << 14;  // values below which a second thread costs more than it brings
constexpr int64_t kChunks = 16;      // of rows that are summed

int64_t rows_of(const Tensor& x) { return x.numel() / x.size(-1); }

const float* floats(const Tensor& x) { return x.const_data_ptr<float>(); }

Bf16* bits(const Tensor& x) { return reinterpret_cast<Bf16*>(x.data_ptr<at::BFloat16>()); }

/// Calls work with `x`'s values as float* or Bf16*.
template <class Work>
void typed(const Tensor& x, Work work) {
  LACUNA_ASSERT(x.is_contiguous());
  if (x.scalar_type() == torch::kFloat)
    work(x.data_ptr<float>());
  else
    work(bits(x));
}

/// Another tensor of the type that `typed` found.
float* values(const Tensor& x, const float*) { return x.data_ptr<float>(); }
Bf16* values(const Tensor& x, const Bf16*) { return bits(x); }

/// All rows, or some, in the order given.
Rows rows_in(const Tensor& order, int64_t begin, int64_t end, int64_t width) {
  if (!order.defined()) return {begin, end, width};
  return {begin, end, width, order.const_data_ptr<int64_t>(), order.numel()};
}

template <class Work>
void over_rows(const Tensor& x, Work work, const Tensor& order = {}) {
  const int64_t width = x.size(-1);
  at::parallel_for(0, rows_of(x), std::max<int64_t>(1, kGrain / width),
                   [&](int64_t begin, int64_t end) { work(rows_in(order, begin, end, width)); });
}

/// work(rows, sums): each chunk of rows has `count` sums of its own, [count, width], which are added up in
/// order.
template <class Work>
Tensor summed_over_rows(const Tensor& x, int64_t count, Work work, const Tensor& order = {}) {
  const int64_t width = x.size(-1), rows = rows_of(x);
  const int64_t chunk = std::max((rows + kChunks - 1) / kChunks, std::max<int64_t>(1, kGrain / width));
  const int64_t chunks = (rows + chunk - 1) / chunk;
  const auto sums = torch::zeros({chunks, count, width}, torch::kFloat);
  at::parallel_for(0, chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c)
      work(rows_in(order, c * chunk, std::min(rows, (c + 1) * chunk), width),
           sums.data_ptr<float>() + c * count * width);
  });
  return sums.sum(0);
}

}  // namespace

Normed layer_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, double eps, torch::Dtype type,
                  const Tensor& order) {
  Normed out{torch::empty_like(x, type), torch::empty({rows_of(x)}, torch::kFloat),
             torch::empty({rows_of(x)}, torch::kFloat)};
  typed(out.y, [&](auto* y) {
    over_rows(
        x,
        [&](Rows rows) {
          norm_rows(rows, floats(x), floats(gamma), floats(beta), static_cast<float>(eps), y,
                    out.mean.data_ptr<float>(), out.rstd.data_ptr<float>());
        },
        order);
  });
  return out;
}

Tensor normalize(const Tensor& x, const Normed& kept, const Tensor& gamma, const Tensor& beta,
                 torch::Dtype type, const Tensor& order) {
  const auto out = torch::empty_like(x, type);
  typed(out, [&](auto* y) {
    over_rows(
        x,
        [&](Rows rows) {
          normalize_rows(rows, floats(x), floats(gamma), floats(beta), floats(kept.mean), floats(kept.rstd),
                         y);
        },
        order);
  });
  return out;
}

NormGradients layer_norm_backward(const Tensor& out, const Tensor& y, const Tensor& x, const Normed& kept,
                                  const Tensor& gamma, const Tensor& order) {
  const auto dx = torch::empty_like(x);
  const int64_t width = x.size(-1);
  Tensor sums;
  typed(y, [&](auto* dy) {
    sums = summed_over_rows(
        x, 3,
        [&](Rows rows, float* at) {
          norm_backward_rows(rows, floats(out), dy, floats(x), floats(kept.mean), floats(kept.rstd),
                             floats(gamma), dx.data_ptr<float>(), {at, at + width, at + 2 * width});
        },
        order);
  });
  return {dx, sums[0], sums[1], sums[2]};
}

Tensor add_branch(const Tensor& x, const Tensor& branch, const Tensor& bias, const Tensor& order) {
  const auto out = torch::empty_like(x);
  typed(branch, [&](auto* y) {
    over_rows(
        x, [&](Rows rows) { add_rows(rows, floats(x), y, floats(bias), out.data_ptr<float>()); }, order);
  });
  return out;
}

Tensor gathered(const Tensor& x, torch::Dtype type, const Tensor& order) {
  if (!order.defined() && type == x.scalar_type()) return x;
  const auto out = torch::empty_like(x, type);
  typed(out, [&](auto* y) {
    over_rows(
        x, [&](Rows rows) { gather_rows(rows, floats(x), y); }, order);
  });
  return out;
}

Tensor bias_gelu(const Tensor& h, const Tensor& bias) {
  const auto out = torch::empty_like(h);
  typed(h,
        [&](auto* x) { over_rows(h, [&](Rows rows) { gelu_rows(rows, x, floats(bias), values(out, x)); }); });
  return out;
}

GeluGradients bias_gelu_backward_(Tensor grad, const Tensor& h, const Tensor& bias) {
  const auto out = torch::empty_like(h);
  Tensor sums;
  typed(h, [&](auto* x) {
    sums = summed_over_rows(h, 1, [&](Rows rows, float* at) {
      gelu_backward_rows(rows, x, floats(bias), values(grad, x), values(out, x), at);
    });
  });
  return {out, sums[0]};
}

Tensor column_sum(const Tensor& x) {
  Tensor sums;
  typed(x, [&](auto* values) {
    sums = summed_over_rows(x, 1, [&](Rows rows, float* at) { sum_rows(rows, values, at); });
  });
  return sums[0];
}

}  // namespace lacuna::nn::kernels
