#include "lacuna/nn/gather.h"

#include <torch/torch.h>

namespace lacuna::nn {

GatheredRows RowGather::forward(const Tensor& rows) const {
  if (world == 1) return {rows};
  const int64_t n = rows.size(0);
  auto own = torch::zeros({world}, rows.options().requires_grad(false));
  own[rank] = n;
  const auto counts = sum(own).detach().to(torch::kCPU, torch::kLong);
  GatheredRows out;
  out.first = counts.slice(0, 0, rank).sum().item<int64_t>();
  out.even = counts.eq(n).all().item<bool>();
  const int64_t behind = counts.sum().item<int64_t>() - out.first - n;
  // Each process puts its rows in their place; the sum of all is the whole.
  const auto zeros = [&](int64_t count) { return torch::zeros({count, rows.size(1)}, rows.options()); };
  out.all = sum(torch::cat({zeros(out.first), rows, zeros(behind)}));
  return out;
}

void connect_gathers(torch::nn::Module& module, int64_t rank, int64_t world, const SumOverProcesses& sum) {
  for (const auto& child : module.modules())
    if (const auto gather = std::dynamic_pointer_cast<RowGather>(child))
      gather->rank = rank, gather->world = world, gather->sum = sum;
}

}  // namespace lacuna::nn
