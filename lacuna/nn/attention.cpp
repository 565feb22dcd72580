#include "lacuna/nn/attention.h"

#include "lacuna/core/torch.h"

#include <cmath>

namespace lacuna::nn {

namespace {

using kernels::AttentionGradients;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Whether kernels::attention computes it.
bool in_cache(const Tensor& qkv, const Tensor& bias) {
  return qkv.scalar_type() == torch::kFloat && (!bias.defined() || bias.scalar_type() == torch::kFloat);
}

/// [S, N, 3D] -> a contiguous copy [3, S*H, N, d].
Tensor unpack(const Tensor& qkv, int64_t heads) {
  const int64_t S = qkv.size(0), N = qkv.size(1), d = qkv.size(2) / (3 * heads);
  return qkv.view({S, N, 3, heads, d})
      .permute({2, 0, 3, 1, 4})
      .clone(torch::MemoryFormat::Contiguous)
      .view({3, S * heads, N, d});
}

/// [S*H, N, d] -> [S, N, D].
Tensor merge(const Tensor& x, int64_t heads) {
  const int64_t S = x.size(0) / heads, N = x.size(1), d = x.size(2);
  return x.view({S, heads, N, d}).transpose(1, 2).reshape({S, N, heads * d});
}

/// bf16: the weights are kept for the backward pass, which then is four products and nothing computed twice.
Tensor products_forward(const Tensor& packed, const Tensor& bias, int64_t heads, variable_list& kept) {
  const auto parts = unpack(packed, heads);
  const auto q = parts[0], k = parts[1], v = parts[2];  // [S*H, N, d]
  q.mul_(1 / std::sqrt(static_cast<double>(q.size(2))));
  const auto logits = at::bmm(q, k.transpose(1, 2));  // [S*H, N, N]
  if (bias.defined()) {
    const int64_t N = q.size(1);
    logits.view({-1, bias.numel() / (N * N), N, N}).add_(bias.view({-1, N, N}));
  }
  const auto weights = at::_softmax(logits, -1, /*half_to_float=*/false);
  kept = {parts, weights};
  return merge(at::bmm(weights, v), heads);
}

AttentionGradients products_backward(const Tensor& gradient, const variable_list& kept, int64_t heads,
                                     const Tensor& bias, bool bias_wanted) {
  const auto &parts = kept[0], &weights = kept[1];
  const int64_t S = parts.size(1) / heads, N = parts.size(2), d = parts.size(3);
  const auto out =
      gradient.reshape({S, N, heads, d}).transpose(1, 2).reshape({S * heads, N, d}).to(parts.scalar_type());
  const auto grads = torch::empty_like(parts);
  auto dq = grads[0], dk = grads[1], dv = grads[2];
  at::bmm_out(dv, weights.transpose(1, 2), out);
  const auto dlogits =
      at::_softmax_backward_data(at::bmm(out, parts[2].transpose(1, 2)), weights, -1, weights.scalar_type());
  at::bmm_out(dq, dlogits, parts[1]);
  dq.mul_(1 / std::sqrt(static_cast<double>(d)));
  at::bmm_out(dk, dlogits.transpose(1, 2), parts[0]);  // q is kept scaled
  Tensor dbias;
  if (bias_wanted)
    dbias = dlogits.view({-1, bias.size(0), heads, N, N}).sum(0, /*keepdim=*/false, torch::kFloat);
  return {grads.view({3, S, heads, N, d}).permute({1, 3, 0, 2, 4}).reshape({S, N, 3 * heads * d}), dbias};
}

/// [W, H, N, N]
Tensor each_window(const Tensor& bias) {
  if (!bias.defined()) return {};
  return (bias.dim() == 4 ? bias : bias.unsqueeze(0)).contiguous();
}

struct ShortAttention : torch::autograd::Function<ShortAttention> {
  static Tensor forward(AutogradContext* ctx, const Tensor& packed, const std::optional<Tensor>& bias,
                        int64_t heads) {
    variable_list kept;
    const auto out = attention_forward(packed, heads, bias.value_or(Tensor()), kept);
    ctx->saved_data["heads"] = heads;
    kept.push_back(bias.value_or(Tensor()));
    ctx->save_for_backward(kept);
    return out;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    auto kept = ctx->get_saved_variables();
    const auto bias = kept.back();
    kept.pop_back();
    const bool wanted = bias.defined() && ctx->needs_input_grad(1);
    const auto grads = attention_backward(gradients[0], kept, ctx->saved_data["heads"].toInt(), bias, wanted);
    return {grads.qkv, grads.bias, Tensor()};
  }
};

std::optional<Tensor> optional(const Tensor& tensor) {
  return tensor.defined() ? std::make_optional(tensor.contiguous()) : std::nullopt;
}

Tensor fused_attention(const Tensor& qkv, int64_t heads, const Tensor& bias) {
  const int64_t S = qkv.size(0), N = qkv.size(1), D = qkv.size(2) / 3;
  const auto parts = qkv.view({S, N, 3, heads, D / heads}).permute({2, 0, 3, 1, 4}).unbind(0);
  std::optional<Tensor> mask;
  if (bias.defined()) {
    const int64_t W = bias.dim() == 4 ? bias.size(0) : 1;
    mask = bias.to(qkv.scalar_type()).expand({S / W, W, heads, N, N}).reshape({S, heads, N, N});
  }
  return at::scaled_dot_product_attention(parts[0], parts[1], parts[2], mask)
      .transpose(1, 2)
      .reshape({S, N, D});
}

}  // namespace

bool is_short(const Tensor& qkv) { return qkv.is_cpu() && qkv.size(1) <= kShortSequence; }

Tensor attention_forward(const Tensor& qkv, int64_t heads, const Tensor& bias, variable_list& kept) {
  const auto each = each_window(bias);
  if (!in_cache(qkv, bias)) return products_forward(qkv, each, heads, kept);
  const auto attended = kernels::attention(qkv, heads, each);
  kept = {qkv, attended.log_sum};
  return attended.out;
}

AttentionGradients attention_backward(const Tensor& gradient, const variable_list& kept, int64_t heads,
                                      const Tensor& bias, bool bias_wanted) {
  const auto each = each_window(bias);
  auto grads = kept[0].dim() == 3 ? kernels::attention_backward(gradient.contiguous(), kept[0], kept[1],
                                                                heads, each, bias_wanted)
                                  : products_backward(gradient, kept, heads, each, bias_wanted);
  if (grads.bias.defined()) grads.bias = grads.bias.view(bias.sizes());
  return grads;
}

Tensor self_attention(const Tensor& qkv, int64_t num_heads, const Tensor& bias) {
  return is_short(qkv) ? ShortAttention::apply(qkv.contiguous(), optional(bias), num_heads)
                       : fused_attention(qkv, num_heads, bias);
}

}  // namespace lacuna::nn
