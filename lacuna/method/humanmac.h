#pragma once
// HumanMAC: Masked Motion Completion for Human Motion Prediction (Chen, Zhang, Li, Pang, Xia, Liu; ICCV 2023,
// arXiv 2302.03665).

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lacuna/diffusion/schedule.h"
#include "lacuna/method/method.h"
#include "lacuna/nn/motion_transformer.h"
#include "lacuna/target/dct.h"

namespace lacuna {

/// Keys `mask.*`: what of a motion is observed, and what stands for the rest while it is unknown.
struct HumanMACMaskConfig {
  int64_t t_his = 25, t_pred = 100;
  std::string padding = "last-frame";  ///< last-frame | repeat | zero
  double mod_train = 0.8, mod_test = 1.0;
  bool complete = true;
  int64_t switch_relax_below_step = 20;
  void fields(Fields& f);
};

/// Keys `target.*`.
struct HumanMACTargetConfig {
  int64_t n_pre = 20;  ///< L
  void fields(Fields& f);
};

struct HumanMACConfig : MethodConfig {
  nn::MotionTransformerConfig encoder;
  HumanMACMaskConfig mask;
  HumanMACTargetConfig target;
  diffusion::DiffusionConfig diffusion;
  void fields(Fields& f) override;
  void resolve(const ConfigTable& table) override;
  int64_t frames() const { return mask.t_his + mask.t_pred; }  ///< T = H + F
};

/// What sampling must keep (section 3.4). n samples, T frames, D = 3 joints (the root left out).
struct MotionCompletion {
  Tensor history;  ///< [n, T, D]: the observed motion, padded: conditions the network
  Tensor known;    ///< [n or 1, T, D]: what is kept where `mask` is 1; one row: noised alike for all samples
  Tensor mask;     ///< [n, T, D] of 0 and 1; undefined: nothing is kept
  Tensor end, end_mask;  ///< the same for the motion to arrive at; undefined: none
};

/// Joints (counted without the root, as in Human3.6M's 16) of the card's groups: right leg, left leg, torso,
/// left arm, right arm, lower body, upper body.
std::vector<std::vector<int64_t>> motion_joint_groups();

/// Network, coefficients and noise of one model: what learns, and what samples. n or B motions of T frames, L
/// coefficients of D values.
class MotionDiffuser : public torch::nn::Module {
 public:
  explicit MotionDiffuser(const HumanMACConfig& config);
  void initialize(Draws& draws) { network_->initialize(draws); }

  const HumanMACConfig& config() const { return config_; }
  const target::Dct& dct() const { return dct_; }
  const diffusion::Schedule& schedule() const { return schedule_; }
  const diffusion::DdimLevels& levels() const { return levels_; }
  const nn::MotionTransformer& network() const { return *network_; }

  /// [T] int64: which frame of the motion stands at each place of the padded history.
  Tensor padding_index() const;
  /// [B, T, D]; with padding `zero` the last observed frame of `trajectory` itself becomes 0, as officially.
  Tensor pad_history(Tensor& trajectory) const;

  /// trajectory [n, T, D], of which only the first t_his frames are read: one future for each row.
  MotionCompletion prediction(const Tensor& trajectory) const;
  /// trajectory [1 or samples, T, D]: futures in which `joints` (without the root) move as they do there.
  MotionCompletion control(const Tensor& trajectory, const std::vector<int64_t>& joints,
                           int64_t samples) const;
  /// trajectory [n, T, D]: the start of each row, and the end of row 0. Needs t_pred >= t_his.
  MotionCompletion transition(const Tensor& trajectory) const;

  /// Called after each step of sampling with x [n, L, D].
  using OnStep = std::function<void(const Tensor& x)>;
  /// DDIM with masked completion -> coefficients [n, L, D]; dct().backward() makes motions of them. Draws
  /// "x_T" [n, L, D], and for each step, counted from 0 in the order of use, "eps.STEP" of the shape of the
  /// known coefficients and, where a motion to arrive at is kept, "eps_end.STEP". `told`: the network is told
  /// the history.
  Tensor sample(const MotionCompletion& completion, bool told, Draws& draws,
                const OnStep& on_step = nullptr) const;

 private:
  Tensor frames_mask(const Tensor& trajectory, int64_t first, int64_t last) const;
  Tensor complete(const MotionCompletion& completion, const Tensor& x, int64_t index, Draws& draws) const;

  HumanMACConfig config_;
  target::Dct dct_;
  diffusion::Schedule schedule_;
  diffusion::DdimLevels levels_;
  std::shared_ptr<nn::MotionTransformer> network_;
};

/// The method: motions in, a loss out.
class HumanMAC : public Method {
 public:
  HumanMAC(const HumanMACConfig& config, Draws& draws);

  /// Mean squared error of the noise predicted at a random level of each motion (equation 4). The network is
  /// told the history of a share mod_train of the samples (officially of the batches).
  Loss forward(const Batch& batch, Draws& draws) override;
  /// The hidden state behind the last block at level 1, without noise, averaged over the coefficients; the
  /// whole motion is seen.
  Tensor features(const Batch& batch, const FeatureOptions& options) override;
  Preview preview(const Batch& batch, Draws& draws) override;
  InputSpec input() const override { return {.modality = "motion", .frames = model_->config().frames()}; }
  bool decays(const std::string& /*name*/, const Tensor& /*parameter*/) const override { return true; }
  const MotionDiffuser& model() const { return *model_; }

 private:
  std::shared_ptr<MotionDiffuser> model_;
};

/// [B, T, J, 3] -> [B, T, 3 (J - 1)]: the root left out.
Tensor without_root(const Tensor& motion);
/// [..., T, D] -> [..., T, J, 3], the root at the origin.
Tensor with_root(const Tensor& trajectory);

}  // namespace lacuna
