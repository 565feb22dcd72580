#pragma once
// Batch normalisation (Ioffe & Szegedy, ICML 2015) whose batch may be spread over several processes.

#include <torch/nn/module.h>
#include <torch/types.h>

#include <functional>

namespace lacuna::nn {

using torch::Tensor;

/// Sums over processes, differentiably; empty: one process.
using SumOverProcesses = std::function<Tensor(const Tensor& part)>;

/// Over all but dimension 1 of x [B, C, ...], with torch.nn.BatchNorm's names and rules: weight [C] = 1, bias
/// [C] = 0, running_mean, running_var (unbiased), num_batches_tracked. In training the statistics are those
/// of the batches of all processes together, as torch.nn.SyncBatchNorm's.
class BatchNorm : public torch::nn::Module {
 public:
  explicit BatchNorm(int64_t channels, double eps = 1e-5, double momentum = 0.1);
  Tensor forward(const Tensor& x);

  Tensor weight, bias, running_mean, running_var, num_batches_tracked;
  SumOverProcesses sum;  ///< set by the loop

 private:
  Tensor forward_together(const Tensor& x);
  double eps_, momentum_;
};

/// Gives `sum` to every BatchNorm in `module`.
void synchronize_batch_norms(torch::nn::Module& module, const SumOverProcesses& sum);

}  // namespace lacuna::nn
