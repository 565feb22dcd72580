#pragma once
// Optimisers with a state that is plain tensors, so that a checkpoint holds it exactly.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lacuna/io/safetensors.h"
#include "lacuna/method/method.h"

namespace lacuna::train {

/// Parameters that share settings. `lr_scale` multiplies the schedule's rate (layer-wise decay).
struct ParamGroup {
  std::vector<std::string> names;
  std::vector<Tensor> params;
  double weight_decay = 0, lr_scale = 1;
  bool decays = false;  ///< whether Optimizer::set_weight_decay concerns it
};

/// Trainable parameters of a method, grouped by weight decay (Method::decays) and, with `layer_decay` below
/// 1, by layer: lr_scale = layer_decay ^ (layers - 1 - layer) (Method::layer_of; Clark et al., 2020; BEiT).
std::vector<ParamGroup> parameter_groups(const Method& method, double weight_decay, double layer_decay = 1);

/// The learning rate of a group, given its lr_scale.
using Rate = std::function<double(double lr_scale)>;
/// lr * lr_scale.
Rate scaled_rate(double lr);

/// An update rule over groups of parameters.
class Optimizer {
 public:
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;
  virtual ~Optimizer() = default;
  /// One update from the parameters' .grad; parameters without one are left alone.
  virtual void step(const Rate& rate) = 0;
  void step(double lr) { step(scaled_rate(lr)); }  ///< every group at lr * lr_scale
  void zero_grad();                                ///< drops the parameters' gradients
  /// The decay of every group that decays, from the next step on.
  void set_weight_decay(double weight_decay);
  const std::vector<ParamGroup>& groups() const { return groups_; }  ///< as given
  /// State by "<kind>.<parameter name>"; shares memory.
  virtual io::Tensors state() const = 0;
  /// Error naming `origin` when a tensor is missing, unexpected or misshapen.
  void load_state(const io::Tensors& saved, const std::string& origin);

 protected:
  explicit Optimizer(std::vector<ParamGroup> groups);
  std::vector<ParamGroup> groups_;
};

/// AdamW (Loshchilov & Hutter, ICLR 2019) as torch.optim.AdamW; LibTorch's fused kernel. Parameters must
/// already be on their device. State: exp_avg, exp_avg_sq and step (scalar, float32) of each parameter.
std::unique_ptr<Optimizer> make_adamw(std::vector<ParamGroup> groups, double beta1, double beta2,
                                      double eps = 1e-8);
/// SGD with momentum as torch.optim.SGD (no dampening): g += wd*p; mu = momentum*mu + g; p -= lr*mu. State:
/// mu of each parameter.
std::unique_ptr<Optimizer> make_sgd(std::vector<ParamGroup> groups, double momentum = 0.9);
/// LARS as MAE's linear probe uses it (util/lars.py; You et al. 2017): for tensors with ndim > 1 g += wd*p,
/// then g *= trust*|p|/|g| (1 when a norm is 0); mu = momentum*mu + g; p -= lr*mu. 1-D tensors skip decay and
/// scaling. State: mu of each parameter.
std::unique_ptr<Optimizer> make_lars(std::vector<ParamGroup> groups, double momentum = 0.9,
                                     double trust = 0.001);

/// Euclidean norm of all gradients together (fp32; inf or nan when one of them is), and their scaling to
/// `max_norm` as torch.nn.utils.clip_grad_norm_ (factor max_norm / (norm + 1e-6), never above 1).
double gradient_norm(const std::vector<ParamGroup>& groups);
void clip_gradients(const std::vector<ParamGroup>& groups, double norm, double max_norm);
/// clip_gradients for each part by itself, given the part's name of every parameter (Method::part_of).
void clip_gradients_by_part(const std::vector<ParamGroup>& groups, double max_norm,
                            const std::function<std::string(const std::string&)>& part_of);
/// All gradients times `factor`.
void scale_gradients(const std::vector<ParamGroup>& groups, double factor);

}  // namespace lacuna::train
