#pragma once
// Rows of all processes as one batch (contrastive losses).

#include <torch/nn/module.h>
#include <torch/types.h>

#include "lacuna/nn/batch_norm.h"

namespace lacuna::nn {

/// Which rows of the whole are this process's.
struct GatheredRows {
  Tensor all;         ///< [sum of n_r, ...] by process
  int64_t first = 0;  ///< the number of this process's first row
  bool even = true;   ///< all processes have as many
};

/// A member of a module that wants to see the batches of all processes; the loop tells it of them.
class RowGather : public torch::nn::Module {
 public:
  /// rows [n, D]. A gradient to a row of the whole flows to its own process, summed over the processes, so
  /// that the mean of their losses has the gradient of one loss over the whole.
  GatheredRows forward(const Tensor& rows) const;
  /// A number of each process, exact below 2^24, by rank, int64 on the CPU. `device`: where the processes
  /// talk.
  Tensor numbers(int64_t own, const torch::Device& device) const;

  int64_t rank = 0, world = 1;
  SumOverProcesses sum;  ///< set by the loop; empty: one process
};

/// Tells every RowGather in `module`.
void connect_gathers(torch::nn::Module& module, int64_t rank, int64_t world, const SumOverProcesses& sum);

}  // namespace lacuna::nn
