#include "lacuna/train/optim.h"

#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>

#include <algorithm>
#include <cmath>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"

namespace lacuna::train {

namespace {

using TensorList = std::vector<Tensor>;

void check_groups(const std::vector<ParamGroup>& groups) {
  for (const auto& group : groups) {
    LACUNA_ASSERT(group.names.size() == group.params.size());
    // The fused kernel walks over memory and does not look at strides.
    for (const auto& param : group.params) LACUNA_ASSERT(param.is_leaf() && param.is_contiguous());
  }
}

/// One tensor beside each parameter of each group.
using Slots = std::vector<TensorList>;

template <class Make>
Slots make_slots(const std::vector<ParamGroup>& groups, Make make) {
  Slots slots;
  for (const auto& group : groups) {
    TensorList& list = slots.emplace_back();
    for (const auto& param : group.params) list.push_back(make(param.detach()));
  }
  return slots;
}

void name_slots(const std::vector<ParamGroup>& groups, const Slots& slots, const std::string& kind,
                io::Tensors& out) {
  for (size_t g = 0; g < groups.size(); ++g)
    for (size_t i = 0; i < slots[g].size(); ++i) out[kind + "." + groups[g].names[i]] = slots[g][i];
}

TensorList gradients(const std::vector<ParamGroup>& groups) {
  TensorList out;
  for (const auto& group : groups)
    for (const auto& param : group.params)
      if (param.grad().defined()) out.push_back(param.grad());
  return out;
}

class AdamW final : public Optimizer {
 public:
  AdamW(std::vector<ParamGroup> groups, double beta1, double beta2, double eps)
      : Optimizer(std::move(groups)), beta1_(beta1), beta2_(beta2), eps_(eps) {
    const auto zeros = [](const Tensor& param) { return at::zeros_like(param); };
    exp_avg_ = make_slots(groups_, zeros);
    exp_avg_sq_ = make_slots(groups_, zeros);
    // On the parameter's device, where the kernel reads it; one each, since a skipped parameter does not
    // count a step.
    step_ = make_slots(groups_,
                       [](const Tensor& param) { return at::zeros({}, param.options().dtype(at::kFloat)); });
  }

  using Optimizer::step;
  void step(const Rate& rate) override {
    const torch::NoGradGuard no_grad;
    for (size_t g = 0; g < groups_.size(); ++g) {
      const ParamGroup& group = groups_[g];
      TensorList params, grads, exp_avg, exp_avg_sq, steps;
      for (size_t i = 0; i < group.params.size(); ++i) {
        const Tensor& grad = group.params[i].grad();
        if (!grad.defined()) continue;
        params.push_back(group.params[i]);
        grads.push_back(grad.contiguous());
        exp_avg.push_back(exp_avg_[g][i]);
        exp_avg_sq.push_back(exp_avg_sq_[g][i]);
        steps.push_back(step_[g][i]);
      }
      if (params.empty()) continue;
      at::_foreach_add_(steps, 1);
      at::_fused_adamw_(params, grads, exp_avg, exp_avg_sq, /*max_exp_avg_sqs=*/{}, steps,
                        rate(group.lr_scale), beta1_, beta2_, group.weight_decay, eps_, /*amsgrad=*/false,
                        /*maximize=*/false);
    }
  }

  io::Tensors state() const override {
    io::Tensors out;
    name_slots(groups_, exp_avg_, "exp_avg", out);
    name_slots(groups_, exp_avg_sq_, "exp_avg_sq", out);
    name_slots(groups_, step_, "step", out);
    return out;
  }

 private:
  double beta1_, beta2_, eps_;
  Slots exp_avg_, exp_avg_sq_, step_;
};

/// mu = momentum * mu + g'; p -= rate * mu, with g' as the rule makes it of the gradient.
class Momentum : public Optimizer {
 public:
  Momentum(std::vector<ParamGroup> groups, double momentum)
      : Optimizer(std::move(groups)), momentum_(momentum) {
    mu_ = make_slots(groups_, [](const Tensor& param) { return at::zeros_like(param); });
  }

  using Optimizer::step;
  void step(const Rate& rate) override {
    const torch::NoGradGuard no_grad;
    for (size_t g = 0; g < groups_.size(); ++g) {
      const ParamGroup& group = groups_[g];
      for (size_t i = 0; i < group.params.size(); ++i) {
        Tensor param = group.params[i];
        if (!param.grad().defined()) continue;
        mu_[g][i].mul_(momentum_).add_(scaled_gradient(param, group.weight_decay));
        param.add_(mu_[g][i], -rate(group.lr_scale));
      }
    }
  }

  io::Tensors state() const override {
    io::Tensors out;
    name_slots(groups_, mu_, "mu", out);
    return out;
  }

 private:
  virtual Tensor scaled_gradient(const Tensor& param, double weight_decay) const = 0;

  double momentum_;
  Slots mu_;
};

class SGD final : public Momentum {
 public:
  using Momentum::Momentum;

 private:
  Tensor scaled_gradient(const Tensor& param, double weight_decay) const override {
    return weight_decay == 0 ? param.grad() : param.grad().add(param, weight_decay);
  }
};

class LARS final : public Momentum {
 public:
  LARS(std::vector<ParamGroup> groups, double momentum, double trust)
      : Momentum(std::move(groups), momentum), trust_(trust) {}

 private:
  Tensor scaled_gradient(const Tensor& param, double weight_decay) const override {
    if (param.dim() <= 1) return param.grad();
    const Tensor update = param.grad().add(param, weight_decay);
    const Tensor param_norm = param.norm(), update_norm = update.norm();
    // Chosen on the device, so that a GPU never waits for a norm.
    const Tensor scale = at::where((param_norm > 0).logical_and(update_norm > 0),
                                   trust_ * param_norm / update_norm, at::ones_like(param_norm));
    return update * scale;
  }

  double trust_;
};

}  // namespace

std::vector<ParamGroup> parameter_groups(const Method& method, double weight_decay, double layer_decay) {
  std::map<std::pair<int64_t, bool>, ParamGroup> groups;
  for (const auto& item : method.named_parameters()) {
    if (!item.value().requires_grad()) continue;
    const bool decays = method.decays(item.key(), item.value());
    const int64_t layer = layer_decay < 1 ? method.layer_of(item.key()) : 0;
    ParamGroup& group = groups[{layer, decays}];
    group.names.push_back(item.key());
    group.params.push_back(item.value());
    group.weight_decay = decays ? weight_decay : 0;
    group.decays = decays;
    if (layer_decay < 1)
      group.lr_scale = std::pow(layer_decay, static_cast<double>(method.layers() - 1 - layer));
  }
  std::vector<ParamGroup> out;
  for (auto& [key, group] : groups) out.push_back(std::move(group));
  return out;
}

Optimizer::Optimizer(std::vector<ParamGroup> groups) : groups_(std::move(groups)) { check_groups(groups_); }

Rate scaled_rate(double lr) {
  return [lr](double lr_scale) { return lr * lr_scale; };
}

void Optimizer::set_weight_decay(double weight_decay) {
  for (auto& group : groups_)
    if (group.decays) group.weight_decay = weight_decay;
}

void Optimizer::zero_grad() {
  for (auto& group : groups_)
    for (auto& param : group.params) param.mutable_grad().reset();
}

void Optimizer::load_state(const io::Tensors& saved, const std::string& origin) {
  const torch::NoGradGuard no_grad;
  const io::Tensors own = state();
  const auto refuse = [&](const std::string& why) {
    fail(origin, "the optimiser's state does not fit: " + why,
         "continue with the method, sizes and train.optimizer that the run began with");
  };
  for (const auto& [name, tensor] : saved)
    if (!own.count(name)) refuse("unexpected tensor " + name);
  for (const auto& [name, tensor] : own) {
    const auto found = saved.find(name);
    if (found == saved.end()) refuse("no tensor " + name);
    if (found->second.sizes() != tensor.sizes())
      refuse(str(name, " has shape ", found->second.sizes(), " instead of ", tensor.sizes()));
  }
  for (const auto& [name, tensor] : own) tensor.copy_(saved.at(name));
}

std::unique_ptr<Optimizer> make_adamw(std::vector<ParamGroup> groups, double beta1, double beta2,
                                      double eps) {
  return std::make_unique<AdamW>(std::move(groups), beta1, beta2, eps);
}

std::unique_ptr<Optimizer> make_sgd(std::vector<ParamGroup> groups, double momentum) {
  return std::make_unique<SGD>(std::move(groups), momentum);
}

std::unique_ptr<Optimizer> make_lars(std::vector<ParamGroup> groups, double momentum, double trust) {
  return std::make_unique<LARS>(std::move(groups), momentum, trust);
}

double gradient_norm(const std::vector<ParamGroup>& groups) {
  const TensorList grads = gradients(groups);
  if (grads.empty()) return 0;
  return at::stack(at::_foreach_norm(grads, 2)).norm().item<double>();
}

void clip_gradients(const std::vector<ParamGroup>& groups, double norm, double max_norm) {
  const double factor = max_norm / (norm + 1e-6);
  if (factor < 1) scale_gradients(groups, factor);
}

void clip_gradients_by_part(const std::vector<ParamGroup>& groups, double max_norm,
                            const std::function<std::string(const std::string&)>& part_of) {
  std::map<std::string, std::vector<ParamGroup>> parts;
  for (const auto& group : groups)
    for (size_t i = 0; i < group.params.size(); ++i)
      parts[part_of(group.names[i])].push_back({{group.names[i]}, {group.params[i]}});
  for (const auto& [name, part] : parts) clip_gradients(part, gradient_norm(part), max_norm);
}

void scale_gradients(const std::vector<ParamGroup>& groups, double factor) {
  const torch::NoGradGuard no_grad;
  if (const auto grads = gradients(groups); !grads.empty()) at::_foreach_mul_(grads, factor);
}

}  // namespace lacuna::train
