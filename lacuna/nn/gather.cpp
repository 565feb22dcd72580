#include "lacuna/nn/gather.h"

#include "lacuna/core/torch.h"

namespace lacuna::nn {

Tensor RowGather::numbers(int64_t own, const torch::Device& device) const {
  if (world == 1) return torch::full({1}, own, torch::kLong);
  auto all = torch::zeros({world}, torch::TensorOptions(device));
  all[rank] = own;
  return sum(all).detach().to(torch::kCPU, torch::kLong);
}

GatheredRows RowGather::forward(const Tensor& rows) const {
  if (world == 1) return {rows};
  const int64_t n = rows.size(0);
  const auto counts = numbers(n, rows.device());
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
