#include "lacuna/nn/kernels/branch.h"

#include "lacuna/core/torch.h"
#include "lacuna/nn/attention.h"
#include "lacuna/nn/autocast.h"
#include "lacuna/nn/kernels/rows.h"

namespace lacuna::nn::kernels {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

torch::Dtype product_type() { return Autocast::current(torch::kCPU).value_or(torch::kFloat); }

Tensor rows(const Tensor& x) { return x.reshape({-1, x.size(-1)}); }

/// dW = dy^T x in fp32, where it is wanted.
Tensor weight_gradient(bool wanted, const Tensor& dy, const Tensor& x) {
  return wanted ? at::mm(dy.t(), x).to(torch::kFloat) : Tensor();
}

struct MlpBranch : torch::autograd::Function<MlpBranch> {
  enum Input { kX, kGamma, kBeta, kW1, kB1, kW2, kB2 };

  static Tensor forward(AutogradContext* ctx, const Tensor& whole, const Tensor& gamma, const Tensor& beta,
                        const Tensor& w1, const Tensor& b1, const Tensor& w2, const Tensor& b2, double eps) {
    const auto type = product_type();
    const auto x = rows(whole).contiguous();
    const auto first = w1.to(type), second = w2.to(type);
    auto normed = layer_norm(x, gamma, beta, eps, type);
    const auto h = at::mm(normed.y, first.t());
    normed.y.reset();
    const auto y = at::mm(bias_gelu(h, b1), second.t());
    ctx->save_for_backward({x, gamma, beta, first, b1, second, h, normed.mean, normed.rstd});
    return add_branch(x, y, b2).view(whole.sizes());
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &gamma = saved[1], &beta = saved[2], &w1 = saved[3], &b1 = saved[4],
               &w2 = saved[5], &h = saved[6];
    const Normed kept{{}, saved[7], saved[8]};
    const auto type = h.scalar_type();
    const auto out = rows(gradients[0]).contiguous(), dy = gathered(out, type);
    const auto dh = at::mm(dy, w2);
    auto gelu = bias_gelu_backward_(dh, h, b1);
    const auto dw2 = weight_gradient(ctx->needs_input_grad(kW2), dy, gelu.activated);
    gelu.activated.reset();
    const auto dw1 = weight_gradient(ctx->needs_input_grad(kW1), dh, normalize(x, kept, gamma, beta, type));
    const auto grads = layer_norm_backward(out, at::mm(dh, w1), x, kept, gamma);
    return {grads.x.view(gradients[0].sizes()),
            grads.gamma,
            grads.beta,
            dw1,
            gelu.bias,
            dw2,
            grads.bias,
            Tensor()};
  }
};

struct AttentionBranch : torch::autograd::Function<AttentionBranch> {
  enum Input { kX, kGamma, kBeta, kIn, kInBias, kOut, kOutBias, kLogitBias };

  static Tensor forward(AutogradContext* ctx, const Tensor& whole, const Tensor& gamma, const Tensor& beta,
                        const Tensor& in, const Tensor& in_bias, const Tensor& out, const Tensor& out_bias,
                        const std::optional<Tensor>& bias, const std::optional<Tensor>& given_order,
                        double eps, int64_t heads, int64_t tokens) {
    const auto order = given_order.value_or(Tensor()), logit_bias = bias.value_or(Tensor());
    const auto type = product_type();
    const auto x = rows(whole).contiguous();
    const auto first = in.to(type), second = out.to(type);
    auto normed = layer_norm(x, gamma, beta, eps, type, order);
    auto qkv = at::linear(normed.y, first, in_bias.to(type)).view({-1, tokens, 3 * x.size(1)});
    normed.y.reset();
    variable_list kept;
    const auto mixed = nn::attention_forward(qkv, heads, logit_bias, kept);
    qkv.reset();
    const auto y = at::mm(rows(mixed), second.t());
    ctx->saved_data["heads"] = heads;
    ctx->save_for_backward({x, gamma, beta, first, second, mixed, normed.mean, normed.rstd, kept[0], kept[1],
                            logit_bias, order});
    return add_branch(x, y, out_bias, order).view(whole.sizes());
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &gamma = saved[1], &beta = saved[2], &in = saved[3], &proj = saved[4],
               &mixed = saved[5], &logit_bias = saved[10], &order = saved[11];
    const Normed kept{{}, saved[6], saved[7]};
    const auto type = mixed.scalar_type();
    const auto out = rows(gradients[0]).contiguous(), dy = gathered(out, type, order);
    const auto dproj = weight_gradient(ctx->needs_input_grad(kOut), dy, rows(mixed));
    const auto attended = nn::attention_backward(at::mm(dy, proj).view(mixed.sizes()), {saved[8], saved[9]},
                                                 ctx->saved_data["heads"].toInt(), logit_bias,
                                                 logit_bias.defined() && ctx->needs_input_grad(kLogitBias));
    const auto dqkv = rows(attended.qkv);
    const auto din =
        weight_gradient(ctx->needs_input_grad(kIn), dqkv, normalize(x, kept, gamma, beta, type, order));
    const auto dbias = ctx->needs_input_grad(kInBias) ? column_sum(dqkv) : Tensor();
    const auto grads = layer_norm_backward(out, at::mm(dqkv, in), x, kept, gamma, order);
    return {grads.x.view(gradients[0].sizes()),
            grads.gamma,
            grads.beta,
            din,
            dbias,
            dproj,
            grads.bias,
            attended.bias,
            Tensor(),
            Tensor(),
            Tensor(),
            Tensor()};
  }
};

}  // namespace

bool serves(const Tensor& x) {
  const auto type = product_type();
  return x.is_cpu() && x.scalar_type() == torch::kFloat &&
         (type == torch::kFloat || type == torch::kBFloat16);
}

Tensor attention_branch(const Tensor& x, const NormWeights& norm, const LinearWeights& in,
                        const LinearWeights& out, int64_t heads, const Windows& windows) {
  const auto given = [](const Tensor& tensor) {
    return tensor.defined() ? std::make_optional(tensor) : std::nullopt;
  };
  // An input that is undefined would shift the numbers of those behind it.
  const auto in_bias = in.bias.defined() ? in.bias : torch::zeros({in.weight.size(0)});
  return AttentionBranch::apply(x, norm.gamma, norm.beta, in.weight, in_bias, out.weight, out.bias,
                                given(windows.bias), given(windows.order), norm.eps, heads, windows.tokens);
}

Tensor mlp_branch(const Tensor& x, const NormWeights& norm, const LinearWeights& in,
                  const LinearWeights& out) {
  return MlpBranch::apply(x, norm.gamma, norm.beta, in.weight, in.bias, out.weight, out.bias, norm.eps);
}

}  // namespace lacuna::nn::kernels
